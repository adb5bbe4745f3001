//! `[tls]`: where the two files come from, and what a change of them is.

use super::super::*;
use super::{Folder, bad};

#[test]
fn certificate_and_key_are_read_from_files_and_credentials() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    folder.write("tls/cert.pem", made.cert.pem());
    folder.write("credentials/tls-key", made.signing_key.serialize_pem());
    let text = "[tls]\ncertificate = \"tls/cert.pem\"\nkey = \"credential:tls-key\"\n";
    let path = folder.write("wsd.toml", text);
    let mut options = LoadOptions {
        credentials: Some(folder.path().join("credentials")),
        now: Duration::from_hours(60 * 365 * 24),
        ..LoadOptions::default()
    };
    let loaded = load(&path, &options, &mut StageLists::new()).unwrap();
    assert_eq!(loaded.warnings, []);
    assert!(loaded.config.tls.as_ref().unwrap().server.is_some());
    for file in ["tls/cert.pem", "credentials/tls-key"] {
        let file = folder.path().join(file);
        assert!(loaded.files.contains(&file), "{file:?} is not watched");
    }
    let printed = loaded.config.print();
    assert!(printed.contains("[tls]\ncertificate = \"/"), "{printed}");
    assert!(
        printed.contains("\nkey = \"credential:tls-key\"\n"),
        "{printed}"
    );

    // Outside the unit nobody has the key; the certificate is looked at all the same.
    options.credentials = None;
    let problems = load(&path, &options, &mut StageLists::new()).unwrap_err();
    assert_eq!(problems.count(), 1);
    assert!(
        problems
            .to_string()
            .contains(":3:7: tls.key: \"credential:tls-key\": there is no")
    );
    options.missing_credential = MissingCredential::Placeholder;
    let unseen = load(&path, &options, &mut StageLists::new()).unwrap();
    assert_eq!(unseen.warnings.len(), 1);
    let tls = unseen.config.tls.as_ref().unwrap();
    assert!(tls.identity.is_some() && tls.server.is_none());
    assert!(diff(&loaded.config, &unseen.config).is_empty());

    // Another certificate is a change although the names are the same.
    let again = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    folder.write("tls/cert.pem", again.cert.pem());
    let changed = load(&path, &options, &mut StageLists::new()).unwrap();
    let changes = diff(&unseen.config, &changed.config);
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].key, changes[0].when),
        ("tls.certificate", When::NewConnections)
    );

    folder.write("tls/cert.pem", "");
    let problems = load(&path, &options, &mut StageLists::new()).unwrap_err();
    assert!(
        problems.to_string().contains("tls.certificate: /"),
        "{problems}"
    );
}

#[test]
fn one_without_the_other_or_of_another_kind_is_refused() {
    for (text, says) in [
        (
            "tls.certificate = \"x\"",
            "wsd.toml:1:1: tls.key: is missing; [tls] needs certificate and key",
        ),
        (
            "[tls]\nkey = \"x\"",
            "wsd.toml:1:1: tls.certificate: is missing",
        ),
        ("[tls]", "tls.key: is missing"),
        (
            "tls = { certificate = \"x\", key = 7 }",
            "wsd.toml:1:34: tls.key: 7: must be",
        ),
        (
            "tls = { certificate = \"\", key = \"x\" }",
            "tls.certificate: \"\": must be a path",
        ),
        (
            "tls = { certificate = \"x\", key = \"credential:a/b\" }",
            "tls.key: \"a/b\": must be credential: and the name of a credential",
        ),
        (
            "tls = { certificate = \"no.pem\", key = \"/\" }",
            "no.pem: no such file or directory",
        ),
        (
            "tls = { certificate = \"no.pem\", key = \"/\" }",
            "tls.key: /: is a directory",
        ),
        (
            "tls = { certificate = \"/dev/zero\", key = \"x\" }",
            "/dev/zero: is no regular file",
        ),
    ] {
        let problems = bad(text);
        assert!(problems.contains(says), "{text}: {problems}");
    }
}
