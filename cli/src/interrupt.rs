//! Ctrl-C for commands that have something to put in order before they end.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use signal_hook::{SigId, consts::SIGINT, flag, low_level};

/// While it lives, a first Ctrl-C is remembered instead of ending the process; a second one ends it.
#[derive(Debug)]
pub(crate) struct Interrupt {
    // ORDERING: sequentially consistent inside `signal_hook`; nothing else is published by it.
    raised: Arc<AtomicBool>,
    remembering: SigId,
}

impl Interrupt {
    /// Starts to listen.
    pub(crate) fn listen() -> io::Result<Self> {
        let raised = Arc::new(AtomicBool::new(false));
        // The order counts: at the second Ctrl-C the first action sees the flag that the second one set.
        flag::register_conditional_default(SIGINT, Arc::clone(&raised))?;
        let remembering = flag::register(SIGINT, Arc::clone(&raised))?;
        Ok(Self { raised, remembering })
    }

    /// True once Ctrl-C was pressed.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    /// Waits, at most until Ctrl-C. Returns true where it was pressed.
    pub(crate) fn wait(&self, duration: Duration) -> bool {
        let end = Instant::now() + duration;
        while !self.is_raised() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
        true
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        // The first action stays and now always ends the process, as Ctrl-C does by default.
        self.raised.store(true, Ordering::SeqCst);
        low_level::unregister(self.remembering);
    }
}
