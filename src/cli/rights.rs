//! By whose rights `wsd check` judges: what the service's user cannot read, the service cannot load.

use std::path::Path;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use super::output;

/// The service's user, as packages make it.
const USER: &str = "wsd";

/// Where the service's configurations are.
const FOLDER: &str = "/etc/wsd";

/// Who judges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Judge {
    /// Whoever asked, and that is as good as any: the service's user, or nobody's service is concerned.
    Asker,
    /// Root asked, and became the service's user.
    Service,
    /// Somebody else asked, whose rights say nothing about the service's.
    Stranger,
}

/// As root and for a configuration of the service it becomes the service's user. Call it before the first thread.
pub(super) fn judge(config: &Path) -> Judge {
    let path = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let Some((uid, gid)) = find(&users).filter(|_| path.starts_with(FOLDER)) else {
        return Judge::Asker;
    };
    let own = geteuid();
    if own == uid {
        return Judge::Asker;
    }
    if !own.is_root() {
        return Judge::Stranger;
    }
    // The user last: with it the right to change the groups goes.
    let became = set_thread_groups(&[])
        .and_then(|()| set_thread_gid(gid))
        .and_then(|()| set_thread_uid(uid));
    match became {
        Ok(()) => Judge::Service,
        Err(error) => {
            output::error(format_args!(
                "warning: judged by root's rights, since it cannot become the user {USER}: {error}"
            ));
            Judge::Asker
        }
    }
}

/// The ids of the service's user, from a text in the form of passwd(5). It is a system user, so no other source counts.
fn find(users: &str) -> Option<(Uid, Gid)> {
    let line = users
        .lines()
        .find(|line| line.split(':').next() == Some(USER))?;
    let mut ids = line.split(':').skip(2).map(str::parse);
    let (uid, gid) = (ids.next()?.ok()?, ids.next()?.ok()?);
    // Root is no service's user, and its rights are no test.
    (uid != 0).then(|| (Uid::from_raw(uid), Gid::from_raw(gid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_in_its_line() {
        let users = "root:x:0:0:root:/root:/bin/bash\nwsdx:x:7:8::/:\nwsd:x:997:996:wsd:/var/lib/wsd:/usr/sbin/nologin\n";
        let (uid, gid) = find(users).unwrap();
        assert_eq!((uid.as_raw(), gid.as_raw()), (997, 996));
        for users in ["", "wsd", "wsd:x:a:b::/:", "wsd:x:0:0::/:", "x:wsd:1:1::/:"] {
            assert_eq!(find(users), None, "{users}");
        }
    }

    #[test]
    fn elsewhere_the_asker_judges() {
        assert_eq!(judge(Path::new("/tmp/wsd.toml")), Judge::Asker);
        assert_eq!(judge(Path::new("/etc/wsdx/wsd.toml")), Judge::Asker);
    }
}
