//! Opaque handles.
//!
//! A handle is a counted shell around a Rust value. C holds one count from `give` to `end`, every
//! call holds one of its own while it runs: so a handle that is ended while a callback or another
//! thread is still inside a call on it stays whole until that call is over.
//!
//! The shell begins with a word that names its type and its state. Each call reads the word
//! first, so a pointer to another kind of handle and, as far as the memory still holds what we
//! left there, a freed handle are answered with an error. After a panic in a call that changes
//! something the word says so: reading and ending such a handle still work, changing does not.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::base::error::{Error, ErrorKind};

/// A type that C knows by pointer only.
pub trait Opaque: Sized {
    /// What stands behind the pointer.
    type Inner;
    /// Tells this kind of handle from every other.
    const TAG: u16;
    /// What the handle is called in messages.
    const NAME: &'static str;
    /// What a call on an ended handle whose memory is still there returns.
    const ENDED: ErrorKind = ErrorKind::InvalidArgument;
}

/// Upper bits of the state word: unlikely in freed memory, in text and in pointers.
const MARK: u64 = 0x9b6e_68d1_0000_0000;
const LIVE: u64 = 1;
const POISONED: u64 = 2;
const ENDED: u64 = 3;

const fn word<H: Opaque>(state: u64) -> u64 {
    MARK | (H::TAG as u64) << 8 | state
}

/// The word stands first so that an allocator's free list overwrites it soon after the end.
#[repr(C)]
struct Shell<T> {
    word: AtomicU64,
    inner: T,
}

/// A handle in use by a call. Keeps the value alive.
pub struct Held<H: Opaque> {
    shell: Arc<Shell<H::Inner>>,
    /// The call changes something: a panic in it makes the handle unfit for further changes.
    changes: bool,
}

impl<H: Opaque> Deref for Held<H> {
    type Target = H::Inner;

    fn deref(&self) -> &H::Inner {
        &self.shell.inner
    }
}

impl<H: Opaque> Drop for Held<H> {
    fn drop(&mut self) {
        if self.changes && std::thread::panicking() {
            self.set(LIVE, POISONED);
        }
    }
}

impl<H: Opaque> Held<H> {
    /// The pointer that C knows this handle by.
    pub fn pointer(&self) -> *mut H {
        Arc::as_ptr(&self.shell).cast_mut().cast()
    }

    /// A reference that does not keep the handle alive.
    pub fn downgrade(&self) -> WeakHandle<H> {
        WeakHandle { shell: Arc::downgrade(&self.shell) }
    }

    /// Changes the state from `old` to `new` and says whether it was `old`.
    fn set(&self, old: u64, new: u64) -> bool {
        // AcqRel: whoever ends a handle comes after what earlier calls did to it.
        let (old, new) = (word::<H>(old), word::<H>(new));
        self.shell.word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A reference to a handle that may have been ended.
pub struct WeakHandle<H: Opaque> {
    shell: Weak<Shell<H::Inner>>,
}

impl<H: Opaque> WeakHandle<H> {
    /// The handle, unless it has been ended.
    pub fn upgrade(&self) -> Option<Held<H>> {
        let shell = self.shell.upgrade()?;
        let ended = shell.word.load(Ordering::Acquire) == word::<H>(ENDED);
        (!ended).then_some(Held { shell, changes: false })
    }
}

/// Makes a handle and gives it to C.
pub fn give<H: Opaque>(inner: H::Inner) -> *mut H {
    let shell = Arc::new(Shell { word: AtomicU64::new(word::<H>(LIVE)), inner });
    Arc::into_raw(shell).cast_mut().cast()
}

/// Uses a handle without changing it.
///
/// # Errors
/// `InvalidArgument` when it is NULL, of another kind or has been freed.
///
/// # Safety
/// A pointer that is neither NULL nor misaligned is readable for eight bytes, and when these are
/// the word of a handle, it is one. No other thread ends it meanwhile.
pub unsafe fn hold<H: Opaque>(handle: *const H) -> Result<Held<H>, Error> {
    // SAFETY: the caller's promise.
    unsafe { check::<H>(handle) }?;
    let shell: *const Shell<H::Inner> = handle.cast();
    // SAFETY: the word says that this is a shell made by `give`, and C's count keeps it alive.
    unsafe { Arc::increment_strong_count(shell) };
    // SAFETY: the count just added becomes this reference's.
    let shell = unsafe { Arc::from_raw(shell) };
    Ok(Held { shell, changes: false })
}

/// Uses a handle to change what stands behind it.
///
/// # Errors
/// As [`hold`], and `Panic` after a panic in an earlier change.
///
/// # Safety
/// As [`hold`].
pub unsafe fn hold_to_change<H: Opaque>(handle: *const H) -> Result<Held<H>, Error> {
    // SAFETY: the caller's promise.
    let mut held = unsafe { hold(handle) }?;
    if held.shell.word.load(Ordering::Acquire) == word::<H>(POISONED) {
        let message = format!("an earlier call on this {} failed inside the library", H::NAME);
        return Err(Error::new(ErrorKind::Panic, message));
    }
    // A destructor that calls us while its thread unwinds is not a fault of this handle.
    held.changes = !std::thread::panicking();
    Ok(held)
}

/// Looks at what stands behind a handle without counting, for a signal handler. `None` when it
/// is NULL or no handle.
///
/// # Safety
/// As [`hold`], and the handle lives as long as the reference is used.
pub unsafe fn peek<'a, H: Opaque>(handle: *const H) -> Option<&'a H::Inner> {
    // SAFETY: the caller's promise.
    let state = unsafe { state::<H>(handle) };
    if !matches!(state, Some(LIVE | POISONED)) {
        return None;
    }
    // SAFETY: the word says that this is a shell, and the caller keeps it alive.
    Some(unsafe { &(*handle.cast::<Shell<H::Inner>>()).inner })
}

/// Takes a handle back from C. Calls that are inside it end first: what is held is dropped when
/// the last of them returns.
///
/// # Errors
/// As [`hold`].
///
/// # Safety
/// As [`hold`]; afterwards C does not use the pointer.
pub unsafe fn end<H: Opaque>(handle: *mut H) -> Result<Held<H>, Error> {
    // SAFETY: the caller's promise.
    let held = unsafe { hold::<H>(handle) }?;
    // Of two threads that end the same handle one wins; the other is told.
    if !held.set(LIVE, ENDED) && !held.set(POISONED, ENDED) {
        return Err(ended::<H>());
    }
    // SAFETY: this is the count that `give` left with C, and nobody else takes it: the state
    // changes to ENDED once.
    unsafe { Arc::decrement_strong_count(handle.cast::<Shell<H::Inner>>()) };
    Ok(held)
}

/// The state of what should be a handle; `None` when it is none.
///
/// # Safety
/// As [`hold`].
unsafe fn state<H: Opaque>(handle: *const H) -> Option<u64> {
    let shell: *const Shell<H::Inner> = handle.cast();
    if shell.is_null() || !shell.is_aligned() {
        return None;
    }
    // SAFETY: readable by the caller's promise; the word comes first and is only ever accessed
    // atomically.
    let found = unsafe { (*handle.cast::<AtomicU64>()).load(Ordering::Acquire) };
    (found & !0xff == word::<H>(0)).then_some(found & 0xff)
}

/// # Safety
/// As [`hold`].
unsafe fn check<H: Opaque>(handle: *const H) -> Result<(), Error> {
    if handle.is_null() {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("the {} is NULL", H::NAME)));
    }
    // SAFETY: the caller's promise.
    match unsafe { state::<H>(handle) } {
        Some(LIVE | POISONED) => Ok(()),
        Some(ENDED) => Err(ended::<H>()),
        _ => {
            let message = format!("the pointer is no {}, or it has been freed", H::NAME);
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
    }
}

fn ended<H: Opaque>() -> Error {
    Error::new(H::ENDED, format!("the {} has been ended or freed", H::NAME))
}

/// What a pointer lent to C stands for, to read.
///
/// # Errors
/// `InvalidArgument` when it is NULL or misaligned.
///
/// # Safety
/// Any other pointer points to a `T` that lives and is not changed as long as the reference.
pub unsafe fn lent<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Error> {
    check_lent(pointer, name)?;
    // SAFETY: not NULL and aligned; the rest is the caller's promise.
    Ok(unsafe { &*pointer })
}

/// What a pointer lent to C stands for, to change.
///
/// # Errors
/// As [`lent`].
///
/// # Safety
/// Any other pointer points to a `T` that lives and that nobody else uses as long as the
/// reference.
pub unsafe fn lent_mut<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T, Error> {
    check_lent(pointer, name)?;
    // SAFETY: not NULL and aligned; the rest is the caller's promise.
    Ok(unsafe { &mut *pointer })
}

fn check_lent<T>(pointer: *const T, name: &str) -> Result<(), Error> {
    let what = match () {
        () if pointer.is_null() => "is NULL",
        () if !pointer.is_aligned() => "is not one of ours",
        () => return Ok(()),
    };
    Err(Error::new(ErrorKind::InvalidArgument, format!("the {name} {what}")))
}

/// Where a result goes.
///
/// # Errors
/// `InvalidArgument` when it is NULL or misaligned.
pub fn output<T>(pointer: *mut T, name: &str) -> Result<Output<T>, Error> {
    check_lent(pointer, name)?;
    Ok(Output(pointer))
}

/// A checked place for a result: made before the work begins, so that nothing is done whose
/// result could not be handed over.
pub struct Output<T>(*mut T);

impl<T> Output<T> {
    /// Writes the result.
    ///
    /// # Safety
    /// The pointer is writable for a `T`.
    pub unsafe fn write(self, value: T) {
        // SAFETY: not NULL and aligned; writable by the caller's promise.
        unsafe { self.0.write(value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::guard;

    struct Cup;
    impl Opaque for Cup {
        type Inner = Arc<str>;
        const TAG: u16 = 1;
        const NAME: &'static str = "cup";
    }

    struct Pot;
    impl Opaque for Pot {
        type Inner = Arc<str>;
        const TAG: u16 = 2;
        const NAME: &'static str = "pot";
        const ENDED: ErrorKind = ErrorKind::Closed;
    }

    fn kind_of<T>(result: Result<T, Error>) -> ErrorKind {
        result.err().unwrap().kind
    }

    #[test]
    fn a_handle_holds_its_value_until_the_end() {
        let value: Arc<str> = "tea".into();
        let handle = give::<Cup>(Arc::clone(&value));
        // SAFETY: the handle is live.
        unsafe {
            assert_eq!(&**hold(handle).unwrap(), "tea");
            assert_eq!(hold(handle).unwrap().pointer(), handle);
            assert_eq!(peek(handle).map(|inner| &**inner), Some("tea"));
            drop(end(handle).unwrap());
        }
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn null_other_kinds_and_misaligned_pointers_are_refused() {
        let handle = give::<Cup>("tea".into());
        // SAFETY: the pointers are NULL, live handles, or inside one of them.
        unsafe {
            assert_eq!(kind_of(hold::<Cup>(std::ptr::null())), ErrorKind::InvalidArgument);
            assert_eq!(kind_of(hold::<Pot>(handle.cast())), ErrorKind::InvalidArgument);
            assert_eq!(kind_of(end::<Pot>(handle.cast())), ErrorKind::InvalidArgument);
            let inside = handle.cast::<u8>().add(1).cast::<Cup>();
            assert_eq!(kind_of(hold(inside)), ErrorKind::InvalidArgument);
            assert!(peek(inside).is_none());
            assert!(peek::<Cup>(std::ptr::null()).is_none());
            drop(end(handle).unwrap());
        }
    }

    #[test]
    fn an_ended_handle_that_a_call_still_holds_is_seen() {
        let cup = give::<Cup>("tea".into());
        let pot = give::<Pot>("tea".into());
        // SAFETY: `held` keeps the memory of both.
        unsafe {
            let held = (hold(cup).unwrap(), hold(pot).unwrap());
            let weak = held.0.downgrade();
            assert!(weak.upgrade().is_some());
            drop(end(cup).unwrap());
            drop(end(pot).unwrap());
            assert_eq!(kind_of(hold(cup)), ErrorKind::InvalidArgument);
            assert_eq!(kind_of(hold(pot)), ErrorKind::Closed);
            assert_eq!(kind_of(end(pot)), ErrorKind::Closed);
            assert!(peek(cup).is_none());
            assert!(weak.upgrade().is_none());
            assert_eq!(&**held.0, "tea");
        }
    }

    #[test]
    fn a_panic_in_a_change_leaves_reading_and_ending_only() {
        let handle = give::<Cup>("tea".into());
        // SAFETY: the handle is live until its end.
        unsafe {
            guard::guard((), || {
                let _held = hold::<Cup>(handle).unwrap();
                panic!("while reading");
            });
            assert!(hold_to_change(handle).is_ok());
            guard::guard((), || {
                let _held = hold_to_change::<Cup>(handle).unwrap();
                panic!("while changing");
            });
            assert_eq!(kind_of(hold_to_change(handle)), ErrorKind::Panic);
            assert_eq!(&**hold(handle).unwrap(), "tea");
            assert!(peek(handle).is_some());
            drop(end(handle).unwrap());
        }
    }

    #[test]
    fn lent_pointers_and_outputs_are_checked() {
        let mut number = 5_u64;
        let pointer = &raw mut number;
        let odd = pointer.cast::<u8>().wrapping_add(1).cast::<u64>();
        // SAFETY: the pointer is to a local that nobody else uses.
        unsafe {
            assert_eq!(*lent(pointer, "number").unwrap(), 5);
            *lent_mut(pointer, "number").unwrap() = 6;
            output(pointer, "number").unwrap().write(7);
            assert!(lent(odd, "number").is_err());
            let error = lent_mut::<u64>(std::ptr::null_mut(), "number").unwrap_err();
            assert_eq!(error.message, "the number is NULL");
        }
        assert_eq!(number, 7);
        assert!(output::<u64>(odd, "number").is_err());
    }
}
