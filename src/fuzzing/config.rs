//! The configuration: no text makes reading it panic, and what is printed is what was read.

use crate::config::check_text;

/// A configuration file, however broken.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match check_text(text) {
        Ok(config) => {
            let printed = config.print();
            let again = check_text(&printed);
            // What is hidden is not there to be read again, and what only files can give neither.
            if let Ok(again) = again {
                assert_eq!(again.print(), printed, "{text}");
            } else {
                assert!(
                    printed.contains("***") || text.contains("[tls]"),
                    "{printed}"
                );
            }
        }
        Err(problems) => {
            assert!(problems.count() > 0);
            for problem in &problems.list {
                assert!(!problem.to_string().contains('\n'), "{problem}");
            }
        }
    }
}
