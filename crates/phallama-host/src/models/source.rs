//! Where a model comes from, as an operator types it.

use phallama_protocol::offers::check_model_name;
use reqwest::Url;

use super::ModelError;

/// Longest text that is looked at.
const SOURCE_MAX_BYTES: usize = 2_048;
/// Longest repository of a registry.
const REPOSITORY_MAX_BYTES: usize = 255;
/// Longest tag (OCI distribution specification).
const TAG_MAX_BYTES: usize = 128;
/// Namespace of names that have none.
const NAMESPACE: &str = "library";
const TAG: &str = "latest";

/// A model somewhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file behind a URL.
    Url(Url),
    /// A model in a registry that speaks OCI's distribution API, as Ollama's does.
    Registry(Reference),
}

/// `HOST[:PORT]/[NAMESPACE/]MODEL[:TAG]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    base: Url,
    repository: String,
    tag: String,
}

impl Source {
    /// Reads `http(s)://…`, or a model of a registry. Where `text` names no registry, it is
    /// `registry`.
    ///
    /// # Errors
    /// [`ModelError::Source`].
    pub fn parse(text: &str, registry: Option<&str>) -> Result<Self, ModelError> {
        let wrong = |problem| ModelError::Source { got: shown(text), problem };
        if text.len() > SOURCE_MAX_BYTES {
            return Err(wrong("it is too long"));
        }
        if text.contains("://") {
            let url = Url::parse(text).map_err(|_| wrong("it is not a URL"))?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(wrong("only http and https URLs are fetched"));
            }
            return Ok(Self::Url(url));
        }
        Reference::parse(text, registry).map(Self::Registry).map_err(wrong)
    }

    /// A name to offer it under, if it has one that can be.
    pub fn default_name(&self) -> Option<String> {
        let name = match self {
            Self::Url(url) => {
                let file = url.path_segments()?.next_back()?;
                file.strip_suffix(".gguf").unwrap_or(file).to_ascii_lowercase()
            }
            Self::Registry(Reference { repository, tag, .. }) => {
                let model = repository.strip_prefix("library/").unwrap_or(repository);
                format!("{model}:{tag}").to_ascii_lowercase()
            }
        };
        check_model_name(&name).is_ok().then_some(name)
    }

    /// Where it comes from, for people. A query may hold a secret and is left out.
    pub fn shown(&self) -> String {
        match self {
            Self::Url(url) => shown_url(url),
            Self::Registry(Reference { base, repository, tag }) => {
                format!("{}/{repository}:{tag}", base.authority())
            }
        }
    }
}

impl Reference {
    fn parse(text: &str, registry: Option<&str>) -> Result<Self, &'static str> {
        let (host, path) = match text.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => {
                let none = "it names no registry, and none is configured; write HOST/MODEL:TAG, \
                            or set `registry` in the section [pod] of config.toml";
                (registry.ok_or(none)?, text)
            }
        };
        let (repository, tag) = path.split_once(':').unwrap_or((path, TAG));
        if !is_tag(tag) {
            return Err("its tag is none: letters, digits, `.`, `_` and `-`, at most 128");
        }
        let qualified = if repository.contains('/') {
            repository.to_owned()
        } else {
            format!("{NAMESPACE}/{repository}")
        };
        if qualified.len() > REPOSITORY_MAX_BYTES || !qualified.split('/').all(is_component) {
            return Err("its path is none: words of letters, digits, `.`, `_` and `-`");
        }
        let base = base_url(host).ok_or("its registry is no host")?;
        Ok(Self { base, repository: qualified, tag: tag.to_owned() })
    }

    /// Where the manifest is.
    pub(super) fn manifest_url(&self) -> Url {
        self.url(&format!("manifests/{}", self.tag))
    }

    /// Where the blob with this digest is.
    pub(super) fn blob_url(&self, digest: &[u8; 32]) -> Url {
        self.url(&format!("blobs/sha256:{}", hex::encode(digest)))
    }

    fn url(&self, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}/{rest}", self.repository));
        url
    }
}

/// The first part of a name is a host when it cannot be a namespace.
fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':', '['])
}

/// A registry on this very machine has no certificate.
fn base_url(host: &str) -> Option<Url> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_label = |label: &str| !label.is_empty() && label.chars().all(plain);
    if !name.starts_with('[') && !name.split('.').all(is_label) {
        return None;
    }
    let is_local = name == "localhost" || name.starts_with("127.") || name.starts_with('[');
    let scheme = if is_local { "http" } else { "https" };
    let url = Url::parse(&format!("{scheme}://{host}/")).ok()?;
    let is_only_host = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    (is_only_host && url.host_str().is_some()).then_some(url)
}

fn is_component(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(word.chars().next())
        && edge(word.chars().next_back())
        && word.chars().all(plain)
        && !word.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let first = tag.chars().next();
    tag.len() <= TAG_MAX_BYTES
        && first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(plain)
}

/// A URL without what may be secret in it.
pub(super) fn shown_url(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Only URLs that cannot have a user refuse to lose it.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// What was typed, short and without control characters.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registry(text: &str) -> Reference {
        match Source::parse(text, Some("registry.example")).unwrap() {
            Source::Registry(reference) => reference,
            Source::Url(url) => panic!("{url}"),
        }
    }

    fn problem(text: &str) -> &'static str {
        match Source::parse(text, Some("registry.example")) {
            Err(ModelError::Source { problem, .. }) => problem,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn short_and_long_names_lead_to_the_same_kind_of_place() {
        for (text, url) in [
            ("smollm2", "https://registry.example/v2/library/smollm2/manifests/latest"),
            ("smollm2:135m", "https://registry.example/v2/library/smollm2/manifests/135m"),
            ("anne/own:1", "https://registry.example/v2/anne/own/manifests/1"),
            ("hub.example/a/b:c", "https://hub.example/v2/a/b/manifests/c"),
            ("hub.example:5000/m", "https://hub.example:5000/v2/library/m/manifests/latest"),
            ("localhost:5000/m", "http://localhost:5000/v2/library/m/manifests/latest"),
            ("127.0.0.1:9/m", "http://127.0.0.1:9/v2/library/m/manifests/latest"),
        ] {
            assert_eq!(registry(text).manifest_url().as_str(), url, "{text}");
        }
        let blob = registry("m").blob_url(&[0xab; 32]);
        let expected = format!("/v2/library/m/blobs/sha256:{}", "ab".repeat(32));
        assert_eq!(blob.path(), expected);
    }

    #[test]
    fn names_cannot_climb_or_carry_anything_else() {
        for text in [
            "",
            "..",
            "a/../b",
            "a/..",
            "/etc/passwd",
            "a//b",
            "a/b/",
            "a b",
            "a\\b",
            "a%2fb",
            "a?b",
            "a#b",
            "é",
            ".a",
            "a.",
            "-a",
            "a..b",
            "a\0b",
            "a\nb",
        ] {
            let said = problem(text);
            assert!(said.starts_with("its path is none"), "{text:?}: {said}");
        }
        for text in ["a:", "a:b:c", "a:-b", "a: ", "a:é"] {
            assert!(problem(text).starts_with("its tag is none"), "{text:?}");
        }
        for text in [
            "../x",
            "./x",
            "a:../b",
            "a:b/c",
            "user@hub.example/m",
            "hub.example?x/m",
            "hub.example#/m",
            "a:b:c/m",
            "[::1/m",
        ] {
            assert_eq!(problem(text), "its registry is no host", "{text:?}");
        }
        let long = format!("a/{}", "b".repeat(255));
        assert!(problem(&long).starts_with("its path is none"));
        assert_eq!(problem(&"x".repeat(2_049)), "it is too long");
    }

    #[test]
    fn only_the_web_is_fetched() {
        for text in ["file:///etc/passwd", "ftp://example.com/x", "javascript://x"] {
            assert_eq!(problem(text), "only http and https URLs are fetched");
        }
        assert_eq!(problem("https://"), "it is not a URL");
    }

    #[test]
    fn without_a_registry_only_full_names_are_understood() {
        let error = Source::parse("smollm2", None).unwrap_err().to_string();
        assert!(error.contains("it names no registry"), "{error}");
        assert!(Source::parse("hub.example/smollm2", None).is_ok());
    }

    #[test]
    fn names_to_offer_under_come_from_tag_or_file() {
        let name = |text| Source::parse(text, Some("registry.example")).unwrap().default_name();
        assert_eq!(name("smollm2").as_deref(), Some("smollm2:latest"));
        assert_eq!(name("anne/Own:Q4_0").as_deref(), Some("anne/own:q4_0"));
        let url = "https://example.com/files/SmolLM2-135M.Q4_1.gguf?token=secret";
        assert_eq!(name(url).as_deref(), Some("smollm2-135m.q4_1"));
        assert_eq!(name("https://example.com/"), None);
        assert_eq!(name("https://example.com/%20"), None);
    }

    #[test]
    fn secrets_in_a_url_are_not_shown() {
        let source = Source::parse("https://u:p@example.com/x.gguf?token=secret#y", None).unwrap();
        assert_eq!(source.shown(), "https://example.com/x.gguf");
    }
    proptest! {
        /// Whatever is typed, what is asked for lies under `/v2/`, in the repository that was
        /// named, and the name to offer it under is one of an offer.
        #[test]
        fn whatever_is_typed_leads_nowhere_else(
            text in "[a-zA-Z0-9./:_%?#@\\\\ -]{0,40}|\\PC{0,20}",
        ) {
            let Ok(source) = Source::parse(&text, Some("registry.example")) else { return Ok(()) };
            prop_assert!(source.default_name().is_none_or(|name| check_model_name(&name).is_ok()));
            prop_assert!(!source.shown().contains(char::is_control));
            let Source::Registry(reference) = source else { return Ok(()) };
            let Reference { repository, tag, .. } = &reference;
            let url = reference.manifest_url();
            prop_assert_eq!(url.path(), format!("/v2/{repository}/manifests/{tag}"));
            prop_assert!(!url.path().contains(".."));
            prop_assert_eq!((url.query(), url.fragment(), url.username()), (None, None, ""));
        }
    }
}
