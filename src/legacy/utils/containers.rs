//! Arrays and dictionaries of utils.h. Hosts read their fields, so they are C memory through and
//! through. They have no lock of their own; one lock of ours keeps calls from several threads apart.

use crate::boundary::guard;
use crate::legacy::instance::INSTANCE;
use crate::legacy::memory::{allocate, give, release, text};
use crate::legacy::types::{Array, Dictionary, KeyValuePair};
use std::ffi::{c_char, c_int, c_void};

/// Grows a malloc'd array so that one more element fits; `None` when it cannot.
///
/// # Safety
/// `items` is NULL or came from malloc with room for `capacity` elements of type `T`.
unsafe fn with_room<T>(items: *mut T, size: usize, capacity: usize) -> Option<(*mut T, usize)> {
    if size < capacity && !items.is_null() {
        return Some((items, capacity));
    }
    let grown = capacity.max(size).checked_mul(2)?.max(8);
    let bytes = grown.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize)?;
    // SAFETY: items is NULL or from malloc by the caller's promise.
    let moved = unsafe { libc::realloc(items.cast(), bytes) }.cast::<T>();
    (!moved.is_null()).then_some((moved, grown))
}

/// Room for a first capacity; NULL for 0.
fn first_items<T>(capacity: usize) -> Option<*mut T> {
    let bytes =
        capacity.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize)?;
    if bytes == 0 {
        return Some(std::ptr::null_mut());
    }
    let items = allocate(bytes).cast::<T>();
    (!items.is_null()).then_some(items)
}

/// A malloc'd value; on failure `items` is freed.
fn boxed<T, I>(value: T, items: *mut I) -> *mut T {
    let place = allocate(size_of::<T>()).cast::<T>();
    // SAFETY: a new block of the right size; items came from malloc or are NULL.
    unsafe {
        if place.is_null() {
            release(items.cast());
        } else {
            place.write(value);
        }
    }
    place
}

/// # Safety
/// See utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn array_create(initial_capacity: usize) -> *mut Array {
    guard(std::ptr::null_mut(), || {
        let Some(items) = first_items(initial_capacity) else { return std::ptr::null_mut() };
        boxed(Array { items, size: 0, capacity: initial_capacity }, items)
    })
}

/// # Safety
/// `array` is NULL or came from array_create and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn array_free(array: *mut Array) {
    guard((), || {
        let _alone = INSTANCE.containers.lock();
        if !array.is_null() {
            // SAFETY: an array of ours by the caller's promise.
            unsafe {
                release((*array).items.cast());
                release(array.cast());
            }
        }
    });
}

/// # Safety
/// `array` is NULL or came from array_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn array_append(array: *mut Array, item: *mut c_void) -> c_int {
    guard(-1, || {
        let _alone = INSTANCE.containers.lock();
        // SAFETY: NULL or an array of ours; the lock keeps other calls out.
        let Some(array) = (unsafe { array.as_mut() }) else { return -1 };
        // SAFETY: the fields describe its own memory.
        match unsafe { with_room(array.items, array.size, array.capacity) } {
            Some((items, capacity)) => {
                (array.items, array.capacity) = (items, capacity);
                // SAFETY: there is room for one more.
                unsafe { items.add(array.size).write(item) };
                array.size += 1;
                0
            }
            None => -1,
        }
    })
}

/// # Safety
/// `array` is NULL or came from array_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn array_get(array: *mut Array, index: usize) -> *mut c_void {
    guard(std::ptr::null_mut(), || {
        let _alone = INSTANCE.containers.lock();
        // SAFETY: NULL or an array of ours; index is checked against its size.
        unsafe {
            match array.as_ref() {
                Some(array) if index < array.size && !array.items.is_null() => {
                    *array.items.add(index)
                }
                _ => std::ptr::null_mut(),
            }
        }
    })
}

/// # Safety
/// `array` is NULL or came from array_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn array_size(array: *mut Array) -> usize {
    guard(0, || {
        let _alone = INSTANCE.containers.lock();
        // SAFETY: NULL or an array of ours.
        unsafe { array.as_ref() }.map_or(0, |array| array.size)
    })
}

/// # Safety
/// See utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dictionary_create(initial_capacity: usize) -> *mut Dictionary {
    guard(std::ptr::null_mut(), || {
        let Some(items) = first_items(initial_capacity) else { return std::ptr::null_mut() };
        boxed(Dictionary { items, size: 0, capacity: initial_capacity }, items)
    })
}

/// The entries of a dictionary.
///
/// # Safety
/// Its fields describe its own memory, and nobody changes it during `'a`.
unsafe fn entries<'a>(dictionary: &Dictionary) -> &'a mut [KeyValuePair] {
    if dictionary.items.is_null() || dictionary.size == 0 {
        return &mut [];
    }
    // SAFETY: the first `size` elements are filled.
    unsafe { std::slice::from_raw_parts_mut(dictionary.items, dictionary.size) }
}

/// # Safety
/// `dict` is NULL or came from dictionary_create and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dictionary_free(dict: *mut Dictionary) {
    guard((), || {
        let _alone = INSTANCE.containers.lock();
        // SAFETY: NULL or a dictionary of ours; keys and values came from malloc.
        unsafe {
            let Some(dictionary) = dict.as_ref() else { return };
            for pair in entries(dictionary) {
                release(pair.key.cast());
                release(pair.value.cast());
            }
            release(dictionary.items.cast());
            release(dict.cast());
        }
    });
}

/// # Safety
/// `dict` is NULL or came from dictionary_create; both texts are NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dictionary_set(
    dict: *mut Dictionary,
    key: *const c_char,
    value: *const c_char,
) -> c_int {
    guard(-1, || {
        let _alone = INSTANCE.containers.lock();
        // SAFETY: as promised by the caller; the lock keeps other calls out.
        let (Some(dictionary), Some(key), Some(value)) =
            (unsafe { (dict.as_mut(), text(key), text(value)) })
        else {
            return -1;
        };
        let copy = give(value);
        if copy.is_null() {
            return -1;
        }
        // SAFETY: the fields describe its own memory.
        let present = unsafe { entries(dictionary) };
        // SAFETY: keys are NUL-terminated or NULL.
        if let Some(pair) = present.iter_mut().find(|pair| unsafe { text(pair.key) } == Some(key)) {
            let old = std::mem::replace(&mut pair.value, copy);
            // SAFETY: came from malloc; no longer reachable.
            unsafe { release(old.cast()) };
            return 0;
        }
        let key = give(key);
        // SAFETY: the fields describe its own memory.
        let room = unsafe { with_room(dictionary.items, dictionary.size, dictionary.capacity) };
        match room {
            Some((items, capacity)) if !key.is_null() => {
                (dictionary.items, dictionary.capacity) = (items, capacity);
                // SAFETY: there is room for one more.
                unsafe { items.add(dictionary.size).write(KeyValuePair { key, value: copy }) };
                dictionary.size += 1;
                0
            }
            room => {
                if let Some((items, capacity)) = room {
                    (dictionary.items, dictionary.capacity) = (items, capacity);
                }
                // SAFETY: both came from malloc or are NULL.
                unsafe {
                    release(key.cast());
                    release(copy.cast());
                }
                -1
            }
        }
    })
}

/// # Safety
/// `dict` is NULL or came from dictionary_create; `key` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dictionary_get(dict: *mut Dictionary, key: *const c_char) -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        let _alone = INSTANCE.containers.lock();
        // SAFETY: as promised by the caller; keys are NUL-terminated or NULL.
        unsafe {
            let (Some(dictionary), Some(key)) = (dict.as_ref(), text(key)) else {
                return std::ptr::null_mut();
            };
            let found = entries(dictionary).iter().find(|pair| text(pair.key) == Some(key));
            found.map_or(std::ptr::null_mut(), |pair| pair.value)
        }
    })
}

/// # Safety
/// `dict` is NULL or came from dictionary_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dictionary_size(dict: *mut Dictionary) -> usize {
    guard(0, || {
        let _alone = INSTANCE.containers.lock();
        // SAFETY: NULL or a dictionary of ours.
        unsafe { dict.as_ref() }.map_or(0, |dictionary| dictionary.size)
    })
}
