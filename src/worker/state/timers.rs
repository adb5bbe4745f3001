//! What time brings: windows that end, timers that fire.
//!
//! [pure] Part of [`super::State`]. Time is an argument; the shell asks [`State::poll_timeout`] when to come back.

use std::time::{Duration, Instant};

use super::super::wheel::Timer;
use super::{Output, State};
use crate::types::{Close, ConnId};

impl State {
    /// Time has passed: ends windows, fires timers. `wall` is the clock's reading at `now`.
    pub fn on_tick(&mut self, now: Instant, wall: f64) {
        self.wall = (now, wall);
        while let Some(batch) = self.home.poll_due(now) {
            self.run_batch(now, batch);
        }
        self.home.expire(now);
        while let Some(&(due, slot)) = self.due_runs.first()
            && due <= now
        {
            self.close_run(now, slot);
        }
        while let Some((tick, timers)) = self.wheel.expire(now) {
            for (conn, timer) in timers {
                self.fire(now, tick, conn, timer);
            }
        }
        self.close_drained(now);
        self.run_script_timer(now);
    }

    /// When [`State::on_tick`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let runs = self.due_runs.first().map(|(due, _)| *due);
        let drain = self.drain.last().map(|(at, _)| *at);
        let times = [
            self.wheel.poll_timeout(),
            self.home.poll_timeout(),
            runs,
            drain,
            self.script_timers.poll_timeout(self.wall.0),
        ];
        times.into_iter().flatten().min()
    }

    /// The session wants to be asked at that time.
    pub fn set_session_timer(&mut self, conn: ConnId, at: Instant) {
        let Some(armed) = self.conns.session_tick(conn) else {
            return;
        };
        let sooner = armed.is_none_or(|tick| self.wheel.is_before(at, tick));
        if sooner {
            *armed = Some(self.wheel.set(at, conn, Timer::Session));
        }
    }

    /// Ends the connection without another word at that time, unless it has ended before.
    pub fn set_kill_timer(&mut self, conn: ConnId, at: Instant) {
        self.wheel.set(at, conn, Timer::Kill);
    }

    fn fire(&mut self, now: Instant, tick: u64, id: ConnId, timer: Timer) {
        match timer {
            Timer::Session => {
                if let Some(armed) = self.conns.session_tick(id)
                    && *armed == Some(tick)
                {
                    *armed = None;
                    self.outputs.push_back(Output::SessionTimeout(id));
                }
            }
            Timer::Kill => {
                if self.conns.session_tick(id).is_some() {
                    self.outputs.push_back(Output::Abort(id));
                }
            }
            Timer::Handshake => {
                if self.conns.is_pending(id) {
                    self.outputs.push_back(Output::HandshakeTimeout(id));
                }
            }
            Timer::Join => self.release(id),
            Timer::Expire => self.expire(now, tick, id),
            Timer::Restart => self.close(now, id, Close::RESTART),
        }
    }

    /// The moment at which the wall clock will show so many seconds.
    pub(super) fn at_wall(&self, unix: f64) -> Instant {
        let (instant, wall) = self.wall;
        let ahead = (unix - wall).clamp(0.0, FAR.as_secs_f64());
        instant + Duration::from_secs_f64(ahead)
    }
}

/// Times further ahead than this are looked at again then: an `Instant` cannot hold every number of a script.
const FAR: Duration = Duration::from_secs(86_400);
