//! The web page: who may use its routes, what they do, and the page itself in a real browser.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use http::{HeaderMap, Method, header};
use phallama::home::Home;
use phallama::tokens;
use phallama_protocol::ids::Amount;
use serde_json::{Value, json};

use crate::stack::{DEPOSIT, MODEL, Options, Stack};

const EXIT_WINDOW_S: u64 = 172_800;
const ROUTES: [(&str, Method); 15] = [
    ("status", Method::GET),
    ("models", Method::GET),
    ("pods", Method::GET),
    ("balance", Method::GET),
    ("limits", Method::GET),
    ("receipts", Method::GET),
    ("receipts/export", Method::GET),
    ("receipts/0x00", Method::GET),
    ("receipts/check", Method::POST),
    ("close", Method::POST),
    ("verify", Method::POST),
    ("deposit", Method::POST),
    ("withdraw", Method::POST),
    ("exit", Method::POST),
    ("limits", Method::POST),
];

/// What a browser that has opened the page sends along.
struct Browser<'a> {
    stack: &'a Stack,
    cookie: String,
}

impl<'a> Browser<'a> {
    async fn open(stack: &'a Stack) -> Self {
        let page = reqwest::get(stack.url("/ui/")).await.expect("served");
        assert_eq!(page.status(), 200);
        let cookie = page.headers()[header::SET_COOKIE].to_str().expect("ASCII");
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        Self { stack, cookie }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-phallama-page", "1".parse().expect("ASCII"));
        headers.insert("sec-fetch-site", "same-origin".parse().expect("ASCII"));
        headers.insert(header::ORIGIN, self.stack.url("").parse().expect("ASCII"));
        headers.insert(header::COOKIE, self.cookie.parse().expect("ASCII"));
        headers
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let response = send(self.stack, method, path, self.headers(), body).await;
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.ask(Method::POST, path, Some(body)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Status, code and field of a refusal.
    async fn refused(&self, path: &str, body: Value) -> (u16, String, Value) {
        let (status, body) = self.ask(Method::POST, path, Some(body)).await;
        let code = body["error"]["code"].as_str().unwrap_or_default().to_owned();
        (status, code, body["error"]["param"].clone())
    }
}

async fn send(
    stack: &Stack,
    method: Method,
    path: &str,
    headers: HeaderMap,
    body: Option<Value>,
) -> reqwest::Response {
    let url = stack.url(&format!("/phallama/v1/{path}"));
    let request = reqwest::Client::new().request(method, url).headers(headers);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.expect("the local server answers")
}

async fn free(stack: &Stack) -> u128 {
    stack.chain.account(stack.user.address()).await.expect("read").free.value()
}

async fn chat(stack: &Stack) {
    let messages = json!([{"role": "user", "content": "say hello"}]);
    let body = json!({"model": MODEL, "messages": messages, "max_tokens": 16});
    let (status, answer) = stack.post("/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_get_the_page_and_ollamas_clients_their_word() {
    let stack = Stack::start(Options::scripted()).await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
    let client = client.expect("a client");
    let front = client.get(stack.url("/")).send().await.expect("answered");
    assert_eq!(front.text().await.expect("text"), "Ollama is running");
    let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
    let front = client.get(stack.url("/")).header(header::ACCEPT, accept).send().await;
    let front = front.expect("answered");
    assert_eq!(front.status(), 307);
    assert_eq!(front.headers()[header::LOCATION], "/ui/");
    assert_eq!(front.headers()[header::VARY], "accept");

    let page = client.get(stack.url("/ui/")).send().await.expect("answered");
    let headers = page.headers().clone();
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().expect("ASCII");
    for part in ["default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
    assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
    let text = page.text().await.expect("text");
    let script = text.split('"').find(|part| part.starts_with("./assets/")).expect("a script");
    let script = client.get(stack.url(&format!("/ui/{}", &script[2..]))).send().await;
    let script = script.expect("answered");
    assert_eq!(script.status(), 200);
    assert_eq!(script.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    assert_eq!(client.get(stack.url("/ui/nothing")).send().await.expect("answered").status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_page_reads_or_spends() {
    let stack = Stack::start(Options::scripted()).await;
    let browser = Browser::open(&stack).await;
    let own = browser.headers();
    let without = |name: &str| {
        let mut headers = own.clone();
        headers.remove(name);
        headers
    };
    let with = |name: &'static str, value: &str| {
        let mut headers = own.clone();
        headers.insert(name, value.parse().expect("ASCII"));
        headers
    };
    let stranger = [
        ("a program", HeaderMap::new(), 403, "not_the_page"),
        ("no header of its own", without("x-phallama-page"), 403, "not_the_page"),
        ("no cookie", without("cookie"), 401, "page_expired"),
        ("another token", with("cookie", "phallama-page-1=00"), 401, "page_expired"),
        ("another page", with("origin", "https://evil.example"), 403, "foreign_origin"),
        ("another port", with("origin", "http://127.0.0.1:9"), 403, "foreign_origin"),
        ("same site", with("sec-fetch-site", "same-site"), 403, "foreign_origin"),
        ("a rebound name", with("host", "evil.example"), 403, "foreign_origin"),
    ];
    for (who, headers, status, code) in stranger {
        for (path, method) in ROUTES {
            let body = (method == Method::POST).then(|| json!({}));
            let answer = send(&stack, method, path, headers.clone(), body).await;
            assert_eq!(answer.status().as_u16(), status, "{who}: {path}");
            assert_eq!(answer.headers().get("access-control-allow-origin"), None, "{who}: {path}");
            let answer: Value = answer.json().await.expect("JSON");
            assert_eq!(answer["error"]["code"], code, "{who}: {path}");
        }
    }
    let status = browser.get("status").await;
    assert_eq!(status["trust"]["root"], "development");
    assert_eq!(status["user"], json!(stack.user.address()));
    let (status, _) = browser.ask(Method::GET, "nothing", None).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn money_takes_the_password_each_time() {
    let stack = Stack::start(Options::scripted()).await;
    stack.key_file("dev-owner.key", 2);
    let browser = Browser::open(&stack).await;
    let before = free(&stack).await;
    let pod = stack.pod_id;
    let asked = [
        ("deposit", json!({"amount": "1"})),
        ("withdraw", json!({"amount": "1"})),
        ("exit", json!({"pod": pod, "step": "start"})),
        ("close", json!({"pod": pod})),
        ("limits", json!({"per_day": "100"})),
    ];
    for (path, mut body) in asked {
        let (status, code, _) = browser.refused(path, body.clone()).await;
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{path}");
        body["password"] = "guess".into();
        let (status, _, param) = browser.refused(path, body).await;
        assert_eq!((status, param), (400, json!("password")), "{path}");
    }
    let more = browser.refused("deposit", json!({"amount": "1", "password": "demo"})).await;
    assert_eq!((more.0, more.1.as_str()), (429, "wrong_password"), "even the right one waits");
    assert_eq!(free(&stack).await, before);
    assert_eq!(stack.client.limits().per_day, None);
    assert_eq!(stack.client.channel(pod).await.expect("read").exit_at_unix_s, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn money_moves_as_on_the_command_line() {
    let stack = Stack::start(Options::scripted()).await;
    stack.key_file("dev-owner.key", 2);
    let browser = Browser::open(&stack).await;
    let (pod, password) = (stack.pod_id, "demo");
    for (amount, param) in [("0", "amount"), ("x", "amount"), ("0.0000001", "amount")] {
        let body = json!({"amount": amount, "password": password});
        assert_eq!(browser.refused("deposit", body).await.2, param, "{amount}");
    }
    let sent = browser.post("deposit", json!({"amount": "1.5", "password": password})).await;
    assert_eq!(sent["sent"], true);
    assert_eq!(free(&stack).await, u128::from(DEPOSIT) + 1_500_000);
    browser.post("withdraw", json!({"amount": "0.5", "password": password})).await;
    assert_eq!(free(&stack).await, u128::from(DEPOSIT) + 1_000_000);

    chat(&stack).await;
    let balance = browser.get("balance").await;
    let today = balance["spent_by_day"].as_array().expect("days").last().expect("today").clone();
    assert_eq!(
        (today["cost"].clone(), &today["answers"]),
        (balance["spent_today"].clone(), &json!(1))
    );
    assert_eq!(balance["channels"][0]["charged"], balance["spent_today"]);

    let step = |step: &str| json!({"pod": pod, "step": step, "password": password});
    stack.settle().await;
    let (status, code, _) = browser.refused("exit", step("finish")).await;
    assert_eq!((status, code.as_str()), (402, "payment"), "none is running");
    browser.post("exit", step("start")).await;
    assert_ne!(browser.get("balance").await["channels"][0]["exit_at_unix_s"], 0);
    assert_eq!(browser.refused("exit", step("finish")).await.0, 402, "the time is not over");
    stack.advance(EXIT_WINDOW_S + 60).await;
    browser.post("exit", step("finish")).await;
    let users = stack.users_money().await;
    assert_eq!(free(&stack).await, users, "nothing is locked");

    let all = browser.post("withdraw", json!({"password": password})).await;
    assert_eq!((all["sent"].clone(), free(&stack).await), (json!(true), 0));
    let (status, code, _) = browser.refused("withdraw", json!({"password": password})).await;
    assert_eq!((status, code.as_str()), (402, "payment"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_closed_at_once_with_the_enclaves_consent() {
    let stack = Stack::start(Options::scripted()).await;
    stack.key_file("dev-owner.key", 2);
    let browser = Browser::open(&stack).await;
    chat(&stack).await;
    stack.settle().await;
    let users = stack.users_money().await;
    assert!(free(&stack).await < users, "something is locked");
    let closed = browser.post("close", json!({"pod": stack.pod_id, "password": "demo"})).await;
    assert_eq!(closed["sent"], true);
    assert_eq!(free(&stack).await, users, "all that was not earned is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_in_force_at_once_and_stay() {
    let stack = Stack::start(Options::scripted()).await;
    let browser = Browser::open(&stack).await;
    let set = json!({"per_request": "0.000001", "per_pod": "none", "password": "demo"});
    assert_eq!(browser.post("limits", set).await["per_request"], "1");
    let messages = json!([{"role": "user", "content": "say hello"}]);
    let body = json!({"model": MODEL, "messages": messages, "max_tokens": 16});
    assert_eq!(stack.post("/v1/chat/completions", &body).await.0, 402);
    assert_eq!(stack.phallama_json(&["limits"]).await["per_request"]["limit"], "1");
    let bad = json!({"per_day": "much", "password": "demo"});
    assert_eq!(browser.refused("limits", bad).await.0, 400);
    browser.post("limits", json!({"per_request": "none", "password": "demo"})).await;
    chat(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_owners_key_it_signs_for_somebody_else_to_send() {
    let stack = Stack::start(Options::scripted()).await;
    let browser = Browser::open(&stack).await;
    assert_eq!(browser.get("status").await["can_send"], false);
    let asked = json!({"amount": "1", "password": "demo"});
    assert_eq!(browser.refused("deposit", asked.clone()).await.1, "no_owner_key");
    let signed = browser.post("withdraw", asked).await;
    assert_eq!(signed["sent"], false);
    assert_eq!(free(&stack).await, u128::from(DEPOSIT), "nothing was sent");
    let file = stack.dir.path().join("withdrawal.json");
    std::fs::write(&file, signed["signed"].as_str().expect("a file's text")).expect("written");
    let key = stack.key_file("gas.key", 0);
    let file = file.to_str().expect("UTF-8");
    stack.phallama_json(&["relay", file, "--yes", "--gas-key-file", &key]).await;
    assert_eq!(free(&stack).await, u128::from(DEPOSIT) - 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn verdict_and_receipts_are_those_of_the_command_line() {
    let stack = Stack::start(Options::scripted()).await;
    let browser = Browser::open(&stack).await;
    chat(&stack).await;
    chat(&stack).await;
    let verified = browser.post("verify", json!({"pod": stack.pod_id})).await;
    assert_eq!(verified["audit"]["verdict"]["accepted"], true);
    assert_eq!(verified["audit"]["verdict"]["approved_as"], "the build under test");

    let listed = browser.get("receipts").await;
    assert_eq!(
        listed,
        json!({
            "found": 2, "receipts": stack.phallama_json(&["receipts"]).await["receipts"],
        })
    );
    assert_eq!(browser.get("receipts?model=other").await["found"], 0);
    assert_eq!(browser.get("receipts?most=1").await["receipts"].as_array().map(Vec::len), Some(1));
    let first = &listed["receipts"][0];
    let hash = first["receipt_hash"].as_str().expect("a hash");
    let one = browser.get(&format!("receipts/{hash}")).await;
    assert_eq!(one["request"], first["request"]);
    let (status, _) = browser.ask(Method::GET, "receipts/0x00", None).await;
    assert_eq!(status, 404);

    let checked = browser.post("receipts/check", json!({})).await;
    assert_eq!(checked, json!({"checked": 2, "valid": 2, "failed": []}));
    let mut changed = one["stored"].clone();
    changed["agreement"]["reserve"] = json!(Amount::ZERO);
    let checked = browser.post("receipts/check", json!({"stored": changed})).await;
    assert_eq!(
        (&checked["valid"], checked["failed"][0]["request"].clone()),
        (&json!(0), one["request"].clone())
    );

    let exported = send(&stack, Method::GET, "receipts/export?format=csv", browser.headers(), None);
    let exported = exported.await.text().await.expect("text");
    let cli = stack.phallama(&["receipts", "export", "--csv"]).await;
    assert_eq!(exported, String::from_utf8(cli.stdout).expect("UTF-8"));
}

/// Runs the page's tests of a folder below `web/` in Chromium. What is missing is said loudly, and
/// `./check web` does not let it be missing.
async fn browse(stack: &Stack, folder: &str, token: Option<&str>) {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web");
    let chromium =
        std::env::var_os("PHALLAMA_CHROMIUM").map_or("/usr/bin/chromium".into(), PathBuf::from);
    if !chromium.exists() || !web.join("node_modules/playwright-core").exists() {
        assert!(std::env::var_os("PHALLAMA_NEEDS_BROWSER").is_none(), "run `tools/setup.sh web`");
        eprintln!("NOT TESTED: the page in a browser: run `tools/setup.sh web`");
        return;
    }
    let entries = std::fs::read_dir(web.join(folder)).expect("tests");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let tests: BTreeSet<PathBuf> =
        files.filter(|path| path.to_string_lossy().ends_with(".test.mjs")).collect();
    assert!(!tests.is_empty(), "no tests in {folder}");
    let status = tokio::process::Command::new("node")
        .args(["--test", "--test-concurrency=1"])
        .args(tests)
        .env("PHALLAMA_PAGE", stack.url(""))
        .env("PHALLAMA_CHROMIUM", chromium)
        .env("PHALLAMA_RPC_URL", &stack.chain.config().rpc_urls[0])
        .env("PHALLAMA_TEST_MODEL", MODEL)
        .envs(token.map(|token| ("PHALLAMA_TEST_TOKEN", token)))
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .status()
        .await
        .expect("Node runs");
    assert!(status.success(), "the page's tests in {folder} failed");
}

/// The page in Chromium, with everything behind it.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_the_page_works_and_is_for_everybody() {
    let stack = Stack::start(Options::scripted()).await;
    stack.key_file("dev-owner.key", 2);
    // Something is locked and paid before anybody looks.
    chat(&stack).await;
    stack.settle().await;
    browse(&stack, "tests", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_a_pod_that_is_not_approved_is_refused() {
    let stack = Stack::start(Options { approved: false, ..Options::scripted() }).await;
    browse(&stack, "tests/refused", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_the_page_asks_for_a_token_where_one_is_needed() {
    let stack = Stack::start(Options::scripted()).await;
    let home = Home::at(stack.dir.path());
    let token = tokens::create(&home, "browser", None).expect("made");
    browse(&stack, "tests/token", Some(&token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tokens_are_needed_the_page_is_shown_and_its_routes_take_one_without_a_limit() {
    let stack = Stack::start(Options::scripted()).await;
    let home = Home::at(stack.dir.path());
    let token = tokens::create(&home, "browser", None).expect("made");
    let limited = tokens::create(&home, "app", Some("1")).expect("made");
    let browser = Browser::open(&stack).await;
    let asked = async |token: Option<&str>| {
        let mut headers = browser.headers();
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().expect("ASCII");
            headers.insert(header::AUTHORIZATION, bearer);
        }
        let response = send(&stack, Method::GET, "status", headers, None).await;
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    assert_eq!(asked(Some(&token)).await.0, 200);
    for (token, code) in [(None, 401), (Some("phallama_00"), 401), (Some(&**limited), 403)] {
        let (status, body) = asked(token).await;
        assert_eq!(status, code, "{body}");
        let expected = if code == 401 { "token_refused" } else { "token_limited" };
        assert_eq!(body["error"]["code"], expected);
    }
}
