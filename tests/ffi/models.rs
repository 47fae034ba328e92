//! Calling models from the host: the offline `echo`, whole and streamed.

use std::ffi::{CStr, CString, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use neurohttp::ffi::*;

use crate::support::*;

/// A client of its own; freed when dropped.
struct Caller(*mut nh_client);

impl Caller {
    fn new() -> Caller {
        let mut client = null_mut();
        unsafe {
            let mut options: nh_client_options = std::mem::zeroed();
            nh_client_options_init(&mut options, size_of::<nh_client_options>());
            options.flags = NH_CLIENT_NO_ENV;
            options.config_text = c"log.level = 'error'".as_ptr();
            assert_eq!(nh_client_open(&options, &mut client), NH_OK, "{}", last_message());
        }
        Caller(client)
    }

    fn chat(&self, json: &str) -> (nh_status, *mut nh_reply) {
        let mut reply = null_mut();
        let status = unsafe { nh_chat(self.0, json.as_ptr().cast(), json.len(), &mut reply) };
        assert_eq!(status == NH_OK, !reply.is_null());
        (status, reply)
    }

    fn stream(
        &self,
        json: &str,
        reply: *mut *mut nh_reply,
        on_delta: &mut dyn FnMut(*const nh_delta) -> i32,
    ) -> nh_status {
        unsafe extern "C-unwind" fn call(delta: *const nh_delta, user_data: *mut c_void) -> i32 {
            let on_delta =
                unsafe { &mut *user_data.cast::<&mut dyn FnMut(*const nh_delta) -> i32>() };
            on_delta(delta)
        }
        let mut on_delta = on_delta;
        let data = (&raw mut on_delta).cast();
        let (json, len) = (json.as_ptr().cast(), json.len());
        unsafe { nh_chat_stream(self.0, json, len, Some(call), data, reply) }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        unsafe { nh_client_free(self.0) };
    }
}

const ASK: &str = r#"{"model":"echo","messages":[{"role":"user","content":"one two three"}]}"#;

#[test]
fn a_prompt_is_answered_whole() {
    let client = Caller::new();
    let mut reply = null_mut();
    unsafe {
        let prompt = c"say \"hé\"\n\\".as_ptr();
        assert_eq!(nh_prompt(client.0, null(), prompt, &mut reply), NH_OK, "{}", last_message());
        assert_eq!(text(|len| nh_reply_text(reply, len)).as_deref(), Some("say \"hé\"\n\\"));
        let json = text(|len| nh_reply_json(reply, len)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["object"], "chat.completion");
        assert_eq!(json["choices"][0]["message"]["content"], "say \"hé\"\n\\");
        assert_eq!(text(|len| nh_reply_finish_reason(reply, len)).as_deref(), Some("stop"));
        assert!(text(|len| nh_reply_model(reply, len)).unwrap().contains("echo"));
        let (mut prompt_tokens, mut completion_tokens) = (0, 0);
        let told = nh_reply_usage(reply, &mut prompt_tokens, &mut completion_tokens);
        assert_eq!(told, NH_OK);
        assert!(prompt_tokens > 0 && completion_tokens > 0);
        assert_eq!(nh_reply_usage(reply, null_mut(), null_mut()), NH_OK);
        nh_reply_free(reply);
        assert_eq!(nh_prompt(client.0, c"echo".as_ptr(), prompt, null_mut()), -1);
        assert_eq!(nh_prompt(client.0, null(), null(), &mut reply), NH_ERR_INVALID_ARGUMENT);
        assert_eq!(nh_prompt(client.0, null(), c"\xff".as_ptr(), &mut reply), -1);
    }
}

#[test]
fn refused_calls_say_why() {
    let client = Caller::new();
    for (json, status, http) in [
        ("", NH_ERR_INVALID_ARGUMENT, 400),
        ("{", NH_ERR_INVALID_ARGUMENT, 400),
        (r#"{"model":"echo"}"#, NH_ERR_INVALID_ARGUMENT, 400),
        (r#"{"model":"none","messages":[{"role":"user","content":"x"}]}"#, NH_ERR_NOT_FOUND, 404),
    ] {
        assert_eq!(client.chat(json).0, status, "{json}: {}", last_message());
        assert_eq!(unsafe { nh_last_error_http() }, http, "{json}");
        let streamed = client.stream(json, null_mut(), &mut |_| 0);
        assert_eq!(streamed, status, "{json}");
    }
}

#[test]
fn a_stream_brings_the_answer_in_pieces() {
    let client = Caller::new();
    for wish in ["", r#","stream":false"#, r#","stream":true"#] {
        let json = ASK.replace("}]}", &format!("}}]{wish}}}"));
        let (mut pieces, mut chunks, mut reply) = (Vec::new(), 0, null_mut());
        let status = client.stream(&json, &mut reply, &mut |delta| {
            pieces.push(text(|len| unsafe { nh_delta_text(delta, len) }).unwrap());
            let chunk = text(|len| unsafe { nh_delta_json(delta, len) }).unwrap();
            let chunk: serde_json::Value = serde_json::from_str(&chunk).unwrap();
            chunks += i32::from(chunk["object"] == "chat.completion.chunk");
            0
        });
        assert_eq!(status, NH_OK, "{}", last_message());
        assert_eq!(pieces.concat(), "one two three");
        assert!(pieces.len() > 2 && chunks == pieces.len() as i32);
        let whole = text(|len| unsafe { nh_reply_text(reply, len) });
        assert_eq!(whole.as_deref(), Some("one two three"));
        unsafe { nh_reply_free(reply) };
        // The other way round a wish for a stream is ignored too.
        let (status, reply) = client.chat(&json);
        assert_eq!(status, NH_OK, "{}", last_message());
        assert!(text(|len| unsafe { nh_reply_json(reply, len) }).unwrap().starts_with('{'));
        unsafe { nh_reply_free(reply) };
    }
    assert_eq!(client.stream(ASK, null_mut(), &mut |_| 0), NH_OK, "the reply may be unwanted");
}

#[test]
fn a_callback_and_another_thread_can_cancel() {
    let client = Caller::new();
    let mut calls = 0;
    let mut reply = null_mut();
    let status = client.stream(ASK, &mut reply, &mut |_| {
        calls += 1;
        -7
    });
    assert_eq!((status, calls, reply.is_null()), (NH_ERR_CANCELLED, 1, true));
    let long = ASK.replace("one", &"word ".repeat(200_000));
    let handle = Sendable(client.0);
    let canceller = Mutex::new(Some(std::thread::spawn(move || handle)));
    let status = client.stream(&long, null_mut(), &mut |_| {
        if let Some(thread) = canceller.lock().unwrap().take() {
            let client = thread.join().unwrap();
            std::thread::spawn(move || unsafe { nh_client_cancel(client.get()) }).join().unwrap();
        }
        0
    });
    assert_eq!(status, NH_ERR_CANCELLED);
    // Later calls are not affected.
    let (status, reply) = client.chat(ASK);
    assert_eq!(status, NH_OK, "{}", last_message());
    unsafe { nh_reply_free(reply) };
}

#[test]
fn a_client_of_a_server_shares_its_life() {
    let host = Host::new("");
    let mut client = null_mut();
    assert_eq!(unsafe { nh_server_client(host.server, &mut client) }, NH_OK);
    let ask = move |client: *mut nh_client| unsafe {
        let mut reply = null_mut();
        let status = nh_prompt(client, null(), c"hello".as_ptr(), &mut reply);
        nh_reply_free(reply);
        status
    };
    assert_eq!(ask(client), NH_ERR_STATE, "it has not been started");
    for (path, flags) in [("/loop", 0), ("/pool", NH_ROUTE_BLOCKING)] {
        let client = Mutex::new(Sendable(client));
        host.route("GET", path, flags, move |_, response| {
            send(response, &ask(client.lock().unwrap().0).to_string())
        });
    }
    host.start();
    assert_eq!(ask(client), NH_OK, "{}", last_message());
    assert_eq!(host.get("/loop").body, NH_ERR_STATE.to_string());
    assert_eq!(host.get("/pool").body, "0");
    drop(host);
    assert_eq!(ask(client), NH_ERR_CLOSED);
    unsafe {
        let mut json = null_mut();
        assert_eq!(nh_models_json(client, &mut json, null_mut()), NH_ERR_CLOSED);
        assert_eq!(nh_client_stats_json(client, &mut json, null_mut()), NH_ERR_CLOSED);
        assert_eq!(nh_model_set_default(client, c"echo".as_ptr()), NH_ERR_CLOSED);
        nh_client_free(client);
    }
}

#[test]
fn models_are_listed_switched_and_removed() {
    let client = Caller::new();
    let call = || {
        let (status, reply) = client.chat(ASK);
        unsafe { nh_reply_free(reply) };
        status
    };
    unsafe {
        let (mut json, mut len) = (null_mut(), 0);
        assert_eq!(nh_models_json(client.0, &mut json, &mut len), NH_OK);
        let listed = CStr::from_ptr(json).to_str().unwrap();
        assert_eq!(listed.len(), len);
        let listed: serde_json::Value = serde_json::from_str(listed).unwrap();
        assert!(listed["data"].as_array().unwrap().iter().any(|model| model["id"] == "echo"));
        nh_free(json.cast());

        let (echo, none) = (c"echo".as_ptr(), c"none".as_ptr());
        assert_eq!(nh_model_set_available(client.0, echo, 0), NH_OK);
        assert_ne!(call(), NH_OK);
        assert_eq!(nh_model_set_available(client.0, echo, 1), NH_OK);
        assert_eq!(call(), NH_OK);
        assert_eq!(nh_model_set_default(client.0, echo), NH_OK);
        assert_eq!(nh_model_set_available(client.0, none, 1), NH_ERR_NOT_FOUND);
        assert_eq!(nh_model_set_default(client.0, none), NH_ERR_NOT_FOUND);
        assert_eq!(nh_model_remove(client.0, none), NH_ERR_NOT_FOUND);
        assert_eq!(nh_model_remove(client.0, echo), NH_OK);
        assert_eq!(call(), NH_ERR_NOT_FOUND);
        assert_eq!(nh_model_remove(client.0, null()), NH_ERR_INVALID_ARGUMENT);
    }
}

#[test]
fn clients_are_refused_like_servers() {
    unsafe extern "C-unwind" fn count(user_data: *mut c_void) {
        unsafe { &*user_data.cast::<AtomicU32>() }.fetch_add(1, Ordering::SeqCst);
    }
    let drops = AtomicU32::new(0);
    let attempt = |change: &dyn Fn(&mut nh_client_options)| unsafe {
        let mut client = null_mut();
        let mut options: nh_client_options = std::mem::zeroed();
        nh_client_options_init(&mut options, size_of::<nh_client_options>());
        options.flags = NH_CLIENT_NO_ENV;
        options.log_user_data = std::ptr::from_ref(&drops).cast_mut().cast();
        options.log_drop = Some(count);
        change(&mut options);
        let status = nh_client_open(&options, &mut client);
        nh_client_free(client);
        (status, drops.swap(0, Ordering::SeqCst))
    };
    assert_eq!(attempt(&|_| {}), (NH_OK, 1));
    assert_eq!(attempt(&|options| options.flags = 2), (NH_ERR_UNSUPPORTED, 1));
    assert_eq!(attempt(&|options| options.reserved = 1), (NH_ERR_UNSUPPORTED, 1));
    assert_eq!(attempt(&|options| options.struct_size = 7), (NH_ERR_INVALID_ARGUMENT, 0));
    let text = c"nonsense = 1".as_ptr();
    assert_eq!(attempt(&|options| options.config_text = text), (NH_ERR_CONFIG, 1));
    let file = CString::new("/none/such.toml").unwrap();
    let mut client = null_mut();
    unsafe {
        assert_eq!(nh_client_new(file.as_ptr(), null(), &mut client), NH_ERR_CONFIG);
        assert_eq!(nh_client_new(null(), null(), null_mut()), NH_ERR_INVALID_ARGUMENT);
        assert!(client.is_null());
    }
}

/// Wrong: a count that is not the published encodings', whatever language the text is in.
#[test]
fn tokens_are_those_of_the_published_encodings() {
    let text = include_str!("../data/ai/multilingual.txt");
    for (name, table) in [
        (c"o200k", tiktoken_rs::o200k_base_singleton()),
        (c"cl100k", tiktoken_rs::cl100k_base_singleton()),
    ] {
        let count = |text: &str| {
            let mut tokens = 0;
            let (name, bytes) = (name.as_ptr(), text.as_ptr().cast());
            assert_eq!(unsafe { nh_count_tokens(name, bytes, text.len(), &mut tokens) }, NH_OK);
            tokens as usize
        };
        assert_eq!(count(text), table.encode_ordinary(text).len());
        for line in text.lines() {
            assert_eq!(count(line), table.encode_ordinary(line).len(), "{line}");
        }
    }
}

#[test]
fn null_is_answered_with_an_error() {
    let invalid = NH_ERR_INVALID_ARGUMENT;
    unsafe {
        let (name, mut reply, mut len) = (c"x".as_ptr(), null_mut(), 7);
        nh_client_options_init(null_mut(), 56);
        assert_eq!(nh_client_open(null(), null_mut()), invalid);
        assert_eq!(nh_server_client(null_mut(), &mut null_mut()), invalid);
        assert_eq!(nh_prompt(null_mut(), null(), name, &mut reply), invalid);
        assert_eq!(nh_chat(null_mut(), name, 1, &mut reply), invalid);
        assert_eq!(nh_chat_stream(null_mut(), name, 1, None, null_mut(), &mut reply), invalid);
        assert_eq!(last_message(), "the callback is NULL");
        for lend in [nh_reply_text, nh_reply_json, nh_reply_model, nh_reply_finish_reason] {
            assert!(lend(null(), &mut len).is_null());
        }
        for lend in [nh_delta_text, nh_delta_json] {
            assert!(lend(null(), &mut len).is_null());
        }
        assert_eq!(nh_reply_usage(null(), null_mut(), null_mut()), invalid);
        assert_eq!(nh_models_json(null_mut(), &mut null_mut(), &mut len), invalid);
        assert_eq!(nh_model_set_available(null_mut(), name, 1), invalid);
        assert_eq!(nh_model_set_default(null_mut(), name), invalid);
        assert_eq!(nh_model_remove(null_mut(), name), invalid);
        nh_client_cancel(null_mut());
        nh_client_free(null_mut());
        nh_reply_free(null_mut());
        assert_eq!((len, reply.is_null()), (7, true));
    }
}
