//! NULL, wrong sizes, unknown flags, freed handles: an error each, never a crash.

use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

use neurohttp::ffi::*;

use crate::support::*;

/// Counts how often a destructor runs.
unsafe extern "C-unwind" fn count(user_data: *mut c_void) {
    unsafe { &*user_data.cast::<AtomicU32>() }.fetch_add(1, Ordering::SeqCst);
}

fn counter(counter: &AtomicU32) -> *mut c_void {
    std::ptr::from_ref(counter).cast_mut().cast()
}

#[test]
fn null_is_answered_with_an_error_everywhere() {
    let invalid = NH_ERR_INVALID_ARGUMENT;
    let name = c"x".as_ptr();
    unsafe {
        assert_eq!(nh_server_new(null(), null_mut()), invalid);
        assert_eq!(nh_server_start(null_mut()), invalid);
        assert_eq!(last_message(), "the server is NULL");
        assert_eq!(nh_server_run(null_mut()), invalid);
        assert_eq!(nh_server_wait(null_mut(), 0), invalid);
        assert_eq!(nh_server_port(null()), 0);
        assert_eq!(nh_server_stats_json(null(), &mut null_mut(), null_mut()), invalid);
        assert_eq!(nh_server_unroute(null_mut(), name, name), invalid);
        nh_server_stop(null_mut());
        nh_server_free(null_mut());
        nh_server_options_init(null_mut(), 64);
        nh_free(null_mut());

        let request = null();
        let mut len = 7;
        for lend in
            [nh_request_method, nh_request_path, nh_request_target, nh_request_peer, nh_request_id]
        {
            assert!(lend(request, &mut len).is_null());
        }
        for lend in [nh_request_query, nh_request_param, nh_request_header] {
            assert!(lend(request, name, &mut len).is_null());
        }
        assert!(nh_request_body(request, &mut len).is_null());
        assert_eq!(nh_request_header_count(request), 0);
        assert_eq!(nh_request_header_at(request, 0, null_mut(), null_mut()), invalid);

        let response = null_mut();
        assert_eq!(nh_response_status(response, 200), invalid);
        assert_eq!(nh_response_header(response, name, name), invalid);
        assert_eq!(nh_response_add_header(response, name, name), invalid);
        assert_eq!(nh_response_get_status(response), invalid);
        assert!(nh_response_get_header(response, name, &mut len).is_null());
        assert!(nh_response_get_body(response, &mut len).is_null());
        assert_eq!(nh_response_body(response, null(), 0), invalid);
        assert_eq!(nh_response_send(response, 200, name, null(), 0), invalid);
        assert_eq!(nh_response_defer(response, &mut null_mut()), invalid);
        assert_eq!(nh_response_stream(response, &mut null_mut()), invalid);
        assert_eq!(len, 7, "an output was written without success");

        let deferred = null_mut();
        assert_eq!(nh_deferred_send(deferred, 200, name, null(), 0), invalid);
        assert!(nh_deferred_response(deferred).is_null());
        assert_eq!(nh_deferred_done(deferred), invalid);
        assert_eq!(nh_deferred_cancelled(deferred), invalid);
        nh_deferred_free(deferred);

        let stream = null_mut();
        assert_eq!(nh_stream_write(stream, null(), 0), invalid);
        assert_eq!(nh_stream_event(stream, name, name, 1), invalid);
        assert_eq!(nh_stream_wait(stream, 0), invalid);
        nh_stream_end(stream);
        nh_stream_abort(stream);
        assert_eq!(last_message(), "the stream is NULL");

        assert_eq!(nh_crc32(null(), 1), 0);
        assert_eq!(nh_crc32_update(5, null(), 1), 5);
    }
}

#[test]
fn null_inside_a_live_exchange_is_an_error_too() {
    let host = Host::with(0, |request, response| unsafe {
        let name = c"x".as_ptr();
        let invalid = NH_ERR_INVALID_ARGUMENT;
        assert!(nh_request_query(request, null(), null_mut()).is_null());
        assert!(nh_request_header(request, null(), null_mut()).is_null());
        assert_eq!(nh_response_header(response, null(), name), invalid);
        assert_eq!(nh_response_header(response, name, null()), invalid);
        assert_eq!(nh_response_body(response, null(), 1), invalid);
        assert_eq!(nh_response_body(response, name.cast(), usize::MAX - 1), invalid);
        // Without a place for the handle nothing is deferred.
        assert_eq!(nh_response_defer(response, null_mut()), invalid);
        assert_eq!(nh_response_stream(response, null_mut()), invalid);
        send(response, "still here")
    });
    assert_eq!(host.get("/").body, "still here");
}

#[test]
fn refused_registrations_free_their_data_once() {
    let host = Host::new("");
    let (server, none) = (host.server, null_mut());
    let drops = AtomicU32::new(0);
    let data = counter(&drops);
    let name = c"/".as_ptr();
    unsafe {
        for (server, method) in [(none, name), (server, null()), (server, c"GET".as_ptr())] {
            let status = nh_server_route(server, method, name, 0, None, data, Some(count));
            assert_eq!(status, NH_ERR_INVALID_ARGUMENT);
        }
        for server in [none, server] {
            let status = nh_server_before(server, None, data, Some(count));
            assert_eq!(status, NH_ERR_INVALID_ARGUMENT);
            let status = nh_server_after(server, None, data, Some(count));
            assert_eq!(status, NH_ERR_INVALID_ARGUMENT);
        }
        let status = nh_stream_on_ready(null_mut(), None, data, Some(count));
        assert_eq!(status, NH_ERR_INVALID_ARGUMENT);
    }
    assert_eq!(drops.load(Ordering::SeqCst), 8);
}

#[test]
fn options_are_checked_and_their_data_freed() {
    let drops = AtomicU32::new(0);
    #[repr(C)]
    struct Newer {
        known: nh_server_options,
        unknown: u64,
    }
    let attempt = |size: usize, change: &dyn Fn(&mut Newer)| {
        let mut server = null_mut();
        unsafe {
            let mut options: Newer = std::mem::zeroed();
            options.known.struct_size = size;
            options.known.flags = NH_SERVER_NO_ENV;
            options.known.log_user_data = counter(&drops);
            options.known.log_drop = Some(count);
            change(&mut options);
            let status = nh_server_new(&options.known, &mut server);
            nh_server_free(server);
            (status, drops.swap(0, Ordering::SeqCst))
        }
    };
    assert_eq!(attempt(64, &|_| {}), (NH_OK, 1));
    assert_eq!(attempt(72, &|_| {}), (NH_OK, 1));
    assert_eq!(attempt(72, &|options| options.unknown = 1), (NH_ERR_UNSUPPORTED, 1));
    assert_eq!(attempt(64, &|options| options.known.flags |= 4), (NH_ERR_UNSUPPORTED, 1));
    // Nothing of a struct of an impossible size is believed.
    for size in [0, 7, 4097, usize::MAX] {
        assert_eq!(attempt(size, &|_| {}), (NH_ERR_INVALID_ARGUMENT, 0), "{size}");
    }
    // An older struct has no log.
    assert_eq!(attempt(40, &|_| {}), (NH_OK, 0));
    let text = |text: &'static CStr| attempt(64, &|o| o.known.config_text = text.as_ptr());
    assert_eq!(text(c"[server]\nworkers = 'many'\n"), (NH_ERR_CONFIG, 1));
    assert!(last_message().contains(":2:"), "{}", last_message());
    assert_eq!(text(c"nonsense = 1"), (NH_ERR_CONFIG, 1));
    assert_eq!(text(c"# \xff"), (NH_ERR_INVALID_ARGUMENT, 1));
    let file = attempt(64, &|options| options.known.config_file = c"/none/such.toml".as_ptr());
    assert_eq!(file, (NH_ERR_CONFIG, 1));
    let listen = attempt(64, &|options| options.known.listen = c"no address".as_ptr());
    assert_eq!(listen, (NH_ERR_CONFIG, 1));
}

#[test]
fn init_fills_a_struct_of_the_callers_size() {
    let mut options: nh_server_options = unsafe { std::mem::zeroed() };
    options.flags = 77;
    unsafe { nh_server_options_init(&mut options, 40) };
    assert_eq!((options.struct_size, options.flags), (40, 0));
    options.flags = 77;
    unsafe { nh_server_options_init(&mut options, 4) };
    assert_eq!((options.struct_size, options.flags), (40, 77));
}

#[test]
fn one_kind_of_handle_is_not_taken_for_another() {
    let host = Host::new("");
    let server = host.server;
    unsafe {
        let stream: *mut nh_stream = server.cast();
        assert_eq!(nh_stream_write(stream, c"x".as_ptr().cast(), 1), NH_ERR_INVALID_ARGUMENT);
        nh_stream_end(stream);
        nh_deferred_free(server.cast());
        assert_eq!(nh_deferred_done(server.cast()), NH_ERR_INVALID_ARGUMENT);
        assert!(last_message().contains("no deferred answer"));
    }
    host.start();
    assert_eq!(host.get("/health").status, 200);
}

#[test]
fn checksums_are_those_of_zlib() {
    let text = c"123456789".as_ptr().cast();
    unsafe {
        assert_eq!(nh_crc32(text, 9), 0xcbf4_3926);
        assert_eq!(nh_crc32(text, usize::MAX), 0xcbf4_3926);
        assert_eq!(nh_crc32_update(nh_crc32(text, 4), text.byte_add(4), 5), 0xcbf4_3926);
        assert_eq!(nh_crc32(null(), 0), 0);
        let level = CStr::from_ptr(nh_cpu_level()).to_str().unwrap();
        assert!(["scalar", "sse42", "avx2", "avx512"].contains(&level));
    }
}
