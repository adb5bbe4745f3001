//! From a path to a channel.

use super::good;

/// Routes, a path, and what comes out: `route|channel|params`, or nothing for 404.
fn route(routes: &str, path: &str) -> Option<String> {
    let found = good(routes).route(path)?;
    let channel = found
        .channel
        .map_or_else(|| "-".to_owned(), |name| name.to_string());
    let params: Vec<String> = found
        .params
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Some(format!(
        "{}|{channel}|{}",
        found.route.name,
        params.join(",")
    ))
}

#[test]
fn without_routes_every_path_is_its_channel() {
    for (path, channel) in [
        ("/", Some("default")),
        ("/chat", Some("chat")),
        ("/a/b", Some("a/b")),
        ("/caf%C3%A9", Some("café")),
        ("/a%2Fb", Some("a/b")),
        ("/%24x", None),
        ("/$x", None),
        ("/a%20b", None),
        ("/a%00", None),
        ("/%ff", None),
        ("/%", None),
        ("", None),
        ("chat", None),
    ] {
        let found = route("", path);
        assert_eq!(
            found,
            channel.map(|channel| format!("|{channel}|")),
            "{path}"
        );
    }
    let long = format!("/{}", "x".repeat(256));
    assert_eq!(route("", &long), None);
}

#[test]
fn the_first_route_that_matches_alone_counts() {
    let routes = "
        [[route]]
        path = \"/chat\"
        channel = \"lobby\"
        [[route]]
        path = \"/rooms/{room}\"
        channel = \"room:{room}\"
        [[route]]
        path = \"/rooms/{room}/{user}\"
        channel = \"\"
        [[route]]
        path = \"/files/{rest*}\"
        channel = \"f:{rest}\"
        [[route]]
        path = \"/caf%C3%A9/\"
        [[route]]
        path = \"/{any}\"
        channel = \"never:{any}\"
    ";
    for (path, found) in [
        ("/chat", Some("/chat|lobby|")),
        ("/chat/", None),
        ("/Chat", Some("/{any}|never:Chat|any=Chat")),
        ("/rooms/1", Some("/rooms/{room}|room:1|room=1")),
        ("/rooms/a%2fb", Some("/rooms/{room}|room:a/b|room=a/b")),
        ("/rooms/", None),
        ("/rooms/a%20b", None),
        (
            "/rooms/1/ann%20b",
            Some("/rooms/{room}/{user}|-|room=1,user=ann b"),
        ),
        ("/files/a", Some("/files/{rest*}|f:a|rest=a")),
        (
            "/files/a/b%2Fc/",
            Some("/files/{rest*}|f:a/b/c/|rest=a/b/c/"),
        ),
        ("/files/", None),
        ("/files", Some("/{any}|never:files|any=files")),
        ("/café/", Some("/caf%C3%A9/|café/|")),
        ("/", None),
        ("/x/y", None),
    ] {
        assert_eq!(route(routes, path).as_deref(), found, "{path}");
    }
}

#[test]
fn a_pattern_covers_what_it_takes_the_paths_of() {
    for (first, second, covers) in [
        ("/a", "/a", true),
        ("/a", "/%61", true),
        ("/a", "/b", false),
        ("/{x}", "/a", true),
        ("/{x}", "/", false),
        ("/{x}", "/{y}", true),
        ("/a", "/{y}", false),
        ("/{x}", "/{y*}", false),
        ("/{x*}", "/{y*}", true),
        ("/{x*}", "/a/{y}/c", true),
        ("/{x*}", "/", false),
        ("/{x*}", "//a", true),
        ("/a/{x*}", "/a", false),
        ("/a/b", "/a", false),
        ("/a", "/a/b", false),
    ] {
        let [first_pattern, second_pattern] =
            [first, second].map(|text| super::super::pattern::path(text).unwrap());
        assert_eq!(
            first_pattern.covers(&second_pattern),
            covers,
            "{first} {second}"
        );
    }
}
