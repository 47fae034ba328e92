//! A function pointer of C's, its `user_data` and the destructor of that.
//!
//! [`UserData`] is made first thing in every registering function, before anything is checked:
//! from then on the destructor runs exactly once, whether the registration fails or the callback
//! lives for days.

use std::ffi::c_void;

use super::guard::guard;
use crate::base::error::{Error, ErrorKind};

/// Frees `user_data`. `C-unwind`, as every callback: a C++ exception that leaves it ends the
/// process in a defined way ("Rust cannot catch foreign exceptions") and is never taken for a
/// return.
pub type DropFn = Option<unsafe extern "C-unwind" fn(user_data: *mut c_void)>;

/// A host's `user_data`, freed by its destructor when this is dropped.
pub struct UserData {
    pointer: *mut c_void,
    drop: DropFn,
}

// SAFETY: the header says on which threads a callback and its destructor run; who registers one
// with data that is not fit for them breaks that rule, not this one.
unsafe impl Send for UserData {}
// SAFETY: as above; we only pass the pointer on.
unsafe impl Sync for UserData {}

impl UserData {
    /// Takes `pointer`; `drop` frees it.
    pub fn new(pointer: *mut c_void, drop: DropFn) -> UserData {
        UserData { pointer, drop }
    }

    /// The pointer, to be passed to the callback.
    pub fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(drop) = self.drop.take() {
            let pointer = self.pointer;
            // SAFETY: `drop` came with this pointer from a caller who vouches for both; `take`
            // makes this its only call.
            guard((), || unsafe { drop(pointer) });
        }
    }
}

/// A callback: what to call and what to pass.
pub struct Callback<F> {
    function: F,
    user_data: UserData,
}

impl<F: Copy> Callback<F> {
    /// Joins a function pointer that C may have left NULL with its data.
    ///
    /// # Errors
    /// `InvalidArgument` when it is NULL; then the data has been freed.
    pub fn new(function: Option<F>, user_data: UserData) -> Result<Callback<F>, Error> {
        match function {
            Some(function) => Ok(Callback { function, user_data }),
            None => Err(Error::new(ErrorKind::InvalidArgument, "the callback is NULL")),
        }
    }

    /// The function.
    pub fn function(&self) -> F {
        self.function
    }

    /// What to pass as its `user_data`.
    pub fn user_data(&self) -> *mut c_void {
        self.user_data.pointer()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    unsafe extern "C-unwind" fn count(user_data: *mut c_void) {
        // SAFETY: every test passes a counter that outlives the callback.
        unsafe { &*user_data.cast::<AtomicU32>() }.fetch_add(1, Ordering::Relaxed);
    }

    fn data(counter: &AtomicU32) -> UserData {
        UserData::new(std::ptr::from_ref(counter).cast_mut().cast(), Some(count))
    }

    #[test]
    fn the_destructor_runs_once_and_last() {
        let (calls, drops) = (AtomicU32::new(0), AtomicU32::new(0));
        let callback = Callback::new(Some(count as unsafe extern "C-unwind" fn(*mut c_void)), {
            data(&drops)
        })
        .unwrap();
        for _ in 0..2 {
            // SAFETY: `count` gets a live counter.
            unsafe { callback.function()(std::ptr::from_ref(&calls).cast_mut().cast()) };
        }
        assert_eq!((calls.load(Ordering::Relaxed), drops.load(Ordering::Relaxed)), (2, 0));
        assert_eq!(callback.user_data(), std::ptr::from_ref(&drops).cast_mut().cast());
        drop(callback);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_missing_function_is_an_error_and_frees_the_data() {
        let drops = AtomicU32::new(0);
        let none: Option<unsafe extern "C-unwind" fn(*mut c_void)> = None;
        let error = Callback::new(none, data(&drops)).err().unwrap();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn data_without_a_destructor_is_left_alone() {
        drop(UserData::new(std::ptr::without_provenance_mut(1), None));
    }
}
