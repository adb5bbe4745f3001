//! No text makes loading panic, and none makes it take long.

use std::path::Path;

use super::super::check::Check;
use super::super::problem::{Problems, Source, resolve};
use super::super::{Config, StageLists, raw, validate};
use super::Folder;

/// Parses, merges and checks texts as if they were a main file and its drop-ins.
fn check(texts: &[String]) -> (Config, Problems) {
    let mut faults = Vec::new();
    let trees = texts
        .iter()
        .enumerate()
        .map(|(file, text)| raw::parse(text, file, &mut faults))
        .collect();
    let root = raw::merged(trees);
    let sources: Vec<Source> = texts
        .iter()
        .map(|text| Source {
            shown: "x.toml".into(),
            text: text.clone(),
        })
        .collect();
    let bases = vec!["/".into(); texts.len()];
    let mut check = Check {
        root: &root,
        sources: &sources,
        bases: &bases,
        disk: None,
        faults,
        warnings: Vec::new(),
        stages: StageLists::new(),
        scripts: None,
        files: Vec::new(),
    };
    let config = validate::config(&mut check, Path::new("/secrets"));
    let mut faults = check.faults;
    faults.append(&mut check.warnings);
    (config, resolve(faults, &sources))
}

/// xorshift64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const SCRAPS: &[&str] = &[
    "\n",
    " = ",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\"",
    "'",
    "\"\"\"",
    ".",
    ",",
    "#",
    "\\",
    "\\u0000",
    "\u{feff}",
    "é",
    "\u{1b}",
    "true",
    "-1",
    "0",
    "99999999999999999999",
    "1e999",
    "nan",
    "1979-05-27",
    "\"0s\"",
    "\"5s\"",
    "\"1MiB\"",
    "listen",
    "hooks",
    "route",
    "channel",
    "settings",
    "time_limit",
    "history",
    "delivery",
    "path = \"/{a}/{b*}\"\n",
    "match = \"*\"\n",
    "[[route]]\n",
    "[[channel]]\n",
    "[limits]\n",
    "url = \"redis://a:b@c:1/2\"\n",
    "broker",
    "credential:x",
    "password",
    "origins = [\"https://*.a:1\"]\n",
    "addresses = [\"[::]:1\"]\n",
];

fn mutated(random: &mut Random, base: &str) -> String {
    let mut text: Vec<char> = base.chars().collect();
    for _ in 0..random.below(5) {
        let at = random.below(text.len() + 1);
        match random.below(4) {
            0 => {
                let end = (at + random.below(40)).min(text.len());
                text.drain(at..end);
            }
            1 => {
                let end = (at + random.below(80)).min(text.len());
                let copy: Vec<char> = text[at..end].to_vec();
                let to = random.below(text.len() + 1);
                text.splice(to..to, copy);
            }
            _ => {
                let scrap: Vec<char> = random.pick(SCRAPS).chars().collect();
                text.splice(at..at, scrap);
            }
        }
    }
    text.into_iter().collect()
}

#[test]
fn no_text_panics_and_what_is_accepted_prints_and_loads_again() {
    let all = Config::default().print();
    let small = "listen.backlog = 1\n[hooks.settings]\na = [1, { b = 2.5 }]\n[[route]]\npath = \"/r/{room}\"\n\
                 channel = \"r:{room}\"\n[[channel]]\nmatch = \"r:*\"\ndelivery = { window = \"1s\" }\n";
    let mut accepted = 0;
    for seed in 1..=3000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let texts: Vec<String> = (0..=random.below(3))
            .map(|_| match random.below(4) {
                0 => mutated(&mut random, &all),
                1 => (0..random.below(60)).map(|_| random.pick(SCRAPS)).collect(),
                _ => mutated(&mut random, small),
            })
            .collect();
        let (config, problems) = check(&texts);
        let _ = problems.to_string();
        if problems.count() == 0 {
            accepted += 1;
            let printed = config.print();
            let (again, problems) = check(std::slice::from_ref(&printed));
            assert_eq!(problems.list, [], "seed {seed}\n{printed}");
            assert_eq!(again.print(), printed, "seed {seed}");
        }
    }
    assert!(
        accepted > 50,
        "only {accepted} were accepted: the test tests too little"
    );
}

#[test]
fn deep_and_wide_texts_are_refused_in_time() {
    let deep = 100_000;
    let wide = (1 << 20) - 100;
    for text in [
        format!("hooks.settings.a = {}", "[".repeat(deep)),
        format!("hooks.settings.a = {}", "{a=".repeat(deep)),
        format!("[{}a]", "a.".repeat(deep)),
        format!("{}a = 1", "a.".repeat(deep)),
        format!("limits.origins = [{}]", "1,".repeat(wide / 2 - 20)),
        format!("limits.origins = [\n{}]", "1,\n".repeat(wide / 3 - 20)),
        "[[route]]\npath=\"/{x}\"\n".repeat(wide / 22),
        "[[channel]]\nmatch=\"*a*a*a*a*a*a*a*b\"\n".repeat(wide / 40),
        format!("limits.origins = [{}]", "\"a://b\",".repeat(wide / 8 - 20)),
        "x=\n".repeat(wide / 3),
        "\u{1}".repeat(wide),
        "[[route]]\n".repeat(wide / 10),
        "\"".repeat(wide),
    ] {
        let folder = Folder::new();
        folder.write("wsd.toml", &text);
        let problems = folder.load().expect_err("refused");
        assert!(problems.list.len() <= Problems::SHOWN);
        assert!(!problems.list.is_empty());
    }
}
