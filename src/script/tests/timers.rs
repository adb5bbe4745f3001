//! `wsd.every` and `wsd.after`.

use super::shared::second;
use super::*;
use crate::pipeline::TimerId;

/// The timers among effects.
fn timers(effects: Vec<Effect>) -> Vec<(TimerId, Duration)> {
    effects
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Timer(id, after) => Some((id, after)),
            _ => None,
        })
        .collect()
}

#[test]
fn timers_are_made_on_one_worker_while_loading_and_on_their_own_in_hooks() {
    let script = "wsd.every(1, function() end)
        wsd.every(2, function() end, 'worker')
        function on_load() wsd.after(3, function() end) end
        function on_message() wsd.after(4, function() end) end";
    let mut s = Scripts::one(script);
    let loaded = |hooks: &mut dyn Hooks| {
        let list = timers(hooks.take_loaded().take());
        list.iter()
            .map(|(_, after)| after.as_secs())
            .collect::<Vec<_>>()
    };
    // These run on worker 1.
    assert_eq!(loaded(&mut *s.hooks), [2]);
    let mut other = second(&s);
    assert_eq!(loaded(&mut *other), [1, 2, 3]);
    let made = timers(s.message("x").unwrap().1);
    assert_eq!(made[0].1, Duration::from_secs(4));
}

#[test]
fn a_timer_goes_on_after_an_error_and_ends_with_a_cut() {
    let mut s = Scripts::one(
        "local n = 0
         local function step() n += 1 if n == 2 then error 'oops' elseif n == 4 then while true do end end wsd.publish('c', tostring(n)) end
         function on_message(conn, m)
           if m == 'bad' then wsd.every(1, step) error 'no' end
           wsd.every(0.5, step)
         end",
    );
    let (id, _) = timers(s.message("x").unwrap().1)[0];
    let run = |s: &mut Scripts| {
        let mut effects = Effects::default();
        effects.begin();
        let run = s.hooks.on_timer(id, &mut effects);
        let error = run.error.map(|error| s.bare(&error.to_string()));
        (run.again, error, effects.take().len())
    };
    let again = Some(Duration::from_millis(500));
    assert_eq!(run(&mut s), (again, None, 1));
    let why = "hooks/a.lua:2: timer: oops";
    assert_eq!(run(&mut s), (again, Some(why.into()), 0));
    assert_eq!(run(&mut s), (again, None, 1));
    let (next, error, _) = run(&mut s);
    assert_eq!(next, None);
    let why = "hooks/a.lua:2: timer: stopped after 20 ms (hooks.time_limit.timer)";
    assert_eq!(error.as_deref(), Some(why));
    assert_eq!(run(&mut s), (None, None, 0));
    // A hook that fails leaves no timer: 2,000 of them find room.
    for _ in 0..2000 {
        assert!(s.fault("bad").ends_with("no"));
    }
}

#[test]
fn a_timer_that_eats_the_memory_is_not_made_again() {
    let mut s = Scripts::one(
        "local t = {}
         wsd.every(1, function() while true do t[#t + 1] = ('x'):rep(1000000) .. #t end end, 'worker')
         wsd.every(2, function() end, 'worker')",
    );
    let made = timers(s.hooks.take_loaded().take());
    assert_eq!(made.len(), 2);
    let mut effects = Effects::default();
    effects.begin();
    let run = s.hooks.on_timer(made[0].0, &mut effects);
    assert!(run.again.is_none() && run.error.is_some());
    let made = timers(s.hooks.take_loaded().take());
    let left: Vec<u64> = made.iter().map(|(_, after)| after.as_secs()).collect();
    assert_eq!(left, [2]);
}

#[test]
fn what_is_no_timer_is_said_with_its_place() {
    for (call, why) in [
        (
            "wsd.every(0.009, print)",
            "wsd.every: the time is 0.009; must be a number of seconds from 0.01 to 315360000",
        ),
        (
            "wsd.after(0/0, print)",
            "wsd.after: the time is NaN; must be a number of seconds from 0.01 to 315360000",
        ),
        (
            "wsd.after(1)",
            "wsd.after: is given nil; must be a function",
        ),
        (
            "wsd.after(1, print, 'all')",
            "wsd.after: \"all\": must be \"worker\" (on each worker) or nothing",
        ),
        (
            "for i = 1, 1001 do wsd.after(1, print) end",
            "wsd.after: there are 1000 timers already",
        ),
    ] {
        let mut s = Scripts::one(&format!("function on_message() {call} end"));
        assert_eq!(s.fault("x"), format!("hooks/a.lua:1: on_message: {why}"));
    }
    let mut s = Scripts::one(
        "function on_message() for i = 1, 600 do wsd.after(1, function() end) end end",
    );
    s.message("x").unwrap();
    assert!(
        s.fault("x")
            .ends_with("wsd.after: there are 1000 timers already")
    );
}
