//! Named points of the commit path at which a test may kill the process. Compiled to nothing without the feature
//! `failpoints`, which only the tests turn on.

/// The process has reached the failpoint `name`.
///
/// When `READCAST_FAILPOINT` is `name` or `name:count`, the process prints that on standard error at the first or the
/// `count`-th time, and ends as if it were killed there: nothing is dropped, flushed or rolled back, and no other thread
/// continues.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn hit(_name: &str) {}

#[cfg(feature = "failpoints")]
pub(crate) use armed::hit;

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Armed {
        name: String,
        left: AtomicU32,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        // A test's switch, not configuration: it exists in no release.
        #[allow(clippy::disallowed_methods)]
        let setting = std::env::var("READCAST_FAILPOINT").ok()?;
        let (name, count) = setting.split_once(':').unwrap_or((&setting, "1"));
        Some(Armed { name: name.to_owned(), left: AtomicU32::new(count.parse().ok()?) })
    });

    /// The process has reached the failpoint `name`.
    pub(crate) fn hit(name: &str) {
        let Some(armed) = ARMED.as_ref().filter(|armed| armed.name == name) else { return };
        if armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            eprintln!("failpoint {name}");
            std::process::abort();
        }
    }
}
