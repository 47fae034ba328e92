use super::*;

fn model(name: &str, targets: &[(usize, Option<&str>)]) -> Model {
    Model {
        name: name.into(),
        targets: targets
            .iter()
            .map(|(provider, model)| Target {
                provider: *provider,
                model: model.map(str::to_owned),
                weight: 1,
                ..Target::default()
            })
            .collect(),
        ..Model::default()
    }
}

fn router() -> Router {
    let mut builder = RouterBuilder::new();
    let openai = builder.provider("openai", false);
    let local = builder.provider("local", false);
    let echo = builder.provider("echo", false);
    builder.echo(echo);
    builder.model(Model {
        aliases: vec!["quick".into()],
        ..model("fast", &[(openai, Some("gpt-4o-mini")), (local, None)])
    });
    builder.model(model("*", &[(local, None)]));
    builder.build().unwrap()
}

#[test]
fn names_resolve_in_the_documented_order() {
    let router = router();
    for (name, provider, upstream) in [
        (Some("fast"), 0, "gpt-4o-mini"),
        (Some("quick"), 0, "gpt-4o-mini"),
        (Some("openai/o3/x"), 0, "o3/x"),
        (Some("nobody/else"), 1, "nobody/else"),
        (Some("openai/"), 1, "openai/"),
        (Some("anything"), 1, "anything"),
        (Some("echo"), 2, "echo"),
        (Some("echo/x"), 2, "x"),
        (None, 0, "gpt-4o-mini"),
        (Some(""), 0, "gpt-4o-mini"),
    ] {
        let plan = router.resolve(name).unwrap();
        let target = &plan.route.targets[0];
        let found = (target.provider, plan.upstream_model(target));
        assert_eq!(found, (provider, upstream), "{name:?}");
    }
    let plan = router.resolve(Some("quick")).unwrap();
    assert_eq!(plan.upstream_model(&plan.route.targets[1]), "fast");
}

#[test]
fn unknown_names_are_404_and_the_environment_takes_the_rest() {
    let mut builder = RouterBuilder::new();
    let echo = builder.provider("echo", false);
    builder.echo(echo);
    let router = builder.clone().build().unwrap();
    let failure = router.resolve(Some("gpt")).unwrap_err();
    assert_eq!((failure.status, failure.code.as_deref()), (404, Some("model_not_found")));
    assert_eq!(router.default_model(), Some("echo"));

    builder.provider("openai", true);
    let router = builder.build().unwrap();
    assert_eq!(router.resolve(Some("gpt")).unwrap().route.targets[0].provider, 1);
    assert_eq!(router.resolve(None).unwrap().route.targets[0].provider, 0);
}

#[test]
fn models_change_at_run_time() {
    let mut router = router();
    assert_eq!(router.models().collect::<Vec<_>>(), ["fast", "echo"]);
    assert!(router.set_available("quick", false));
    assert_eq!(router.resolve(Some("fast")).unwrap_err().status, 503);
    assert_eq!(router.models().collect::<Vec<_>>(), ["echo"]);
    assert!(router.set_default("echo"));
    assert_eq!(router.default_model(), Some("echo"));
    assert!(router.remove("fast"));
    assert!(!router.remove("quick"));
    assert_eq!(router.resolve(Some("fast")).unwrap().route.targets[0].provider, 1, "now by *");
    assert_eq!(router.resolve(Some("echo")).unwrap().route.targets[0].provider, 2);
    assert!(!router.set_available("none", true) && !router.set_default("*"));
}

#[test]
fn contradictions_are_refused() {
    let mut router = router();
    for wrong in [
        model("fast", &[(0, None)]),
        model("quick", &[(0, None)]),
        model("", &[(0, None)]),
        model("x", &[]),
        model("x", &[(9, None)]),
        Model { aliases: vec!["x".into()], ..model("x", &[(0, None)]) },
        Model { is_default: true, ..model("*2", &[(9, None)]) },
    ] {
        assert!(router.add(wrong.clone()).is_err(), "{wrong:?}");
    }
    assert!(router.add(Model { is_default: true, ..model("d", &[(0, None)]) }).is_ok());
    assert_eq!(router.default_model(), Some("d"));
    assert!(router.add(Model { is_default: true, ..model("e", &[(0, None)]) }).is_err());
}

#[test]
fn lists_are_openais() {
    let mut out = Vec::new();
    router().encode_models(5, |_| true, &mut out);
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["object"], "list");
    assert_eq!(
        value["data"][0],
        serde_json::json!({"id":"fast","object":"model","created":5,"owned_by":"openai"})
    );
    assert_eq!(value["data"].as_array().unwrap().len(), 2);
    let mut out = Vec::new();
    router().encode_model("quick", 5, &mut out).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["id"], "quick");
    assert_eq!(router().encode_model("*", 5, &mut out).unwrap_err().status, 404);
}

/// Wrong: what Anthropic's SDK cannot page through.
#[test]
fn lists_are_anthropics_too() {
    let mut out = Vec::new();
    router().encode_models_anthropic(5, |_| true, &mut out);
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let created_at = "1970-01-01T00:00:05Z";
    let fast = serde_json::json!(
        {"type":"model","id":"fast","display_name":"fast","created_at":created_at}
    );
    assert_eq!(value["data"][0], fast);
    assert_eq!((&value["first_id"], &value["last_id"]), (&"fast".into(), &"echo".into()));
    assert_eq!(value["has_more"], false);
    let mut out = Vec::new();
    router().encode_model_anthropic("quick", 5, &mut out).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&value["id"], &value["type"]), (&"quick".into(), &"model".into()));
    assert_eq!(router().encode_model_anthropic("*", 5, &mut out).unwrap_err().status, 404);
}
