use std::ffi::OsString;

use super::*;

fn config(arguments: &[&str]) -> Result<Config, String> {
    // The variables of this process cannot be removed while other tests run, so they must not be there.
    let variable =
        |setting: &Setting| format!("MOBILEBERT_{}", setting.name.to_uppercase().replace('-', "_"));
    let is_set = |name: &String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let set = SETTINGS.iter().map(variable).find(is_set);
    assert!(set.is_none(), "{set:?} would change what the tests ask for; unset it for them");
    let all = ["mobilebert-serve"].iter().chain(arguments).map(OsString::from);
    Config::from_args(all).map_err(|error| error.to_string())
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serve.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn the_defaults_are_the_built_in_models_on_loopback() {
    let config = config(&[]).unwrap();
    let names: Vec<&str> = config.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["qa", "sentiment", "ner", "embed"]);
    assert_eq!(config.listen, Listen::Tcp("127.0.0.1:8080".parse().unwrap()));
    assert_eq!((config.budget_tokens, config.deadline.as_secs()), (512, 30));
    assert!(config.max_windows >= config.max_inputs, "as many short texts as a request may have");
    assert_eq!(config.dialects, Dialect::ALL);
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let (_folder, path) =
        file("threads = 3\nbudget-tokens = 99\nmodel = [\"a=x\", \"b=y\"]\nstrict = true\n");
    let config = config(&["--config", &path, "--budget-tokens", "7"]).unwrap();
    assert_eq!((config.threads, config.budget_tokens, config.strict), (3, 7, true));
    assert_eq!(config.models[1], ModelSetting { name: "b".to_owned(), source: "y".to_owned() });
    let shown = config.shown();
    let line = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("budget-tokens = 7 ").ends_with("# flag"));
    assert!(line("threads = 3 ").ends_with(&format!("# {path}")));
    assert!(line("max-inputs = 1000 ").ends_with("# default"));
    assert!(line("model = [\"a=x\", \"b=y\"]").ends_with(&path));
    assert!(line("# api-key-file is not set").ends_with("# default"));
    // What is shown can be read again.
    let (_folder, again) = file(&shown);
    let again = super::Config::from_args(["x".into(), "--config".into(), again.into()]).unwrap();
    assert_eq!((again.threads, again.budget_tokens, again.models), (3, 7, config.models));
}

#[test]
fn the_help_names_all_settings_and_their_defaults() {
    let help = config(&["--help"]).unwrap_err();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for setting in &SETTINGS {
        assert!(help.contains(&format!("--{}", setting.name)), "{} is not in {help}", setting.name);
        if let (false, false, [default]) = (setting.is_switch(), setting.takes_many(), setting.default) {
            assert!(help.contains(&format!(". Default: {default}")), "{} in {help}", setting.name);
        }
    }
}

#[test]
fn models_have_names() {
    let models = |text: &str| config(&["--model", text]).map(|config| config.models[0].clone());
    for (text, name, source) in [
        ("qa", "qa", "qa"),
        ("built-in:qa", "qa", "built-in:qa"),
        ("a/b/my-model/", "my-model", "a/b/my-model/"),
        ("org/name@revision", "name", "org/name@revision"),
        ("x=org/name", "x", "org/name"),
    ] {
        assert_eq!(models(text).unwrap(), ModelSetting { name: name.to_owned(), source: source.to_owned() });
    }
    for text in ["", "=x", "a b=x", "ä=x", "x="] {
        assert!(models(text).unwrap_err().contains("--model"), "{text}");
    }
    let twice = config(&["--model", "a=x", "--model", "a=y"]).unwrap_err();
    assert!(twice.contains("two models are called `a`"), "{twice}");
}

#[test]
fn wrong_settings_are_named_with_their_place() {
    for (text, expected) in [
        ("budgettokens = 1", "there is no setting `budgettokens`"),
        ("print-config = true", "there is no setting `print-config`"),
        ("config = \"x\"", "there is no setting `config`"),
        ("threads = 1.5", "`threads` is a value of type float"),
        ("threads = [1]", "`threads` is a value of type array"),
        ("threads = 0", "`threads` is `0`; expected a whole number from 1 to 1024"),
        ("threads = 1\nthreads = 2", "duplicate key"),
        ("listen = 1", "`listen` is `1`; expected an address and port"),
        ("log = \"xml\"", "`log` is `xml`; expected `text` or `json`"),
        ("dialects = \"native,soap\"", "`dialects` is `soap`"),
        ("deadline-ms = 400000", "`deadline-ms`: the default deadline is later"),
        ("strict = \"maybe\"", "`strict` is `maybe`; expected `true` or `false`"),
        ("=", "serve.toml"),
    ] {
        let (_folder, path) = file(text);
        let problem = config(&["--config", &path]).unwrap_err();
        assert!(problem.contains(expected) && problem.contains("serve.toml"), "{text}: {problem}");
    }
    assert!(config(&["--threads", "many"]).unwrap_err().contains("--threads is `many`"));
    assert!(config(&["--no-such-flag"]).unwrap_err().contains("--no-such-flag"));
    assert!(config(&["--config", "/no/such/file"]).unwrap_err().contains("/no/such/file"));
}

#[test]
fn a_public_address_needs_keys_or_consent() {
    for public in ["0.0.0.0:1", "[::]:1", "192.168.0.7:80"] {
        let problem = config(&["--listen", public]).unwrap_err();
        assert!(problem.contains("--api-key-file") && problem.contains("--no-auth"), "{problem}");
        assert!(config(&["--listen", public, "--no-auth"]).unwrap().no_auth);
        assert!(config(&["--listen", public, "--api-key-file", "keys"]).is_ok());
        assert!(config(&["--listen", public, "--no-auth=false"]).is_err());
    }
    for private in ["127.0.0.1:0", "[::1]:8080", "127.1.2.3:9", "unix:/tmp/socket"] {
        assert!(config(&["--listen", private]).is_ok(), "{private}");
    }
}

#[test]
fn what_the_build_lacks_is_named() {
    for (flags, feature, has) in [
        (&["--grpc-listen", "127.0.0.1:0"][..], "grpc", cfg!(feature = "grpc")),
        (&["--tls-cert", "a", "--tls-key", "b"][..], "tls", cfg!(feature = "tls")),
    ] {
        let found = config(flags);
        assert_eq!(found.is_ok(), has, "{feature}");
        if let Err(problem) = found {
            assert!(
                problem.contains(flags[0]) && problem.contains(&format!("--features {feature}")),
                "{problem}"
            );
        }
    }
}

#[test]
fn origins_and_hosts_have_a_form() {
    let flags = ["--cors-origin", "https://A.example", "--cors-origin", "http://localhost:3000"];
    let set = config(&[&flags[..], &["--allowed-hosts", "a.example, [::1]"]].concat()).unwrap();
    assert_eq!(set.cors_origins, ["https://a.example", "http://localhost:3000"]);
    assert_eq!(set.allowed_hosts, ["a.example", "[::1]"]);
    for wrong in ["a.example", "https://a.example/", "https://", "ftp://a", "https://*.a", "null"] {
        let problem = config(&["--cors-origin", wrong]).unwrap_err();
        assert!(problem.contains("--cors-origin") && problem.contains("expected an origin"), "{problem}");
    }
    for wrong in ["", "a b", "a:80", "http://a"] {
        let problem = config(&["--allowed-hosts", wrong]).unwrap_err();
        assert!(problem.contains("--allowed-hosts"), "{problem}");
    }
    let problem = config(&["--body-memory-bytes", "1000"]).unwrap_err();
    assert!(problem.contains("--max-body-bytes"), "{problem}");
}
