//! A registry of models over TLS, as Ollama fetches from: manifests by name, and files by digest at
//! another host, where the registry sends those that ask it for one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phallama_engine::weights_digest;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The registry, and where the files are. Both are the same server.
const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];

/// A model that is published.
pub(crate) struct Published<'a> {
    pub(crate) name: &'a str,
    pub(crate) weights: &'a Path,
    /// In Ollama's language of templates; without one that of the weights counts.
    pub(crate) template: Option<&'a str>,
}

/// A running registry. It ends with the process.
pub(crate) struct Registry {
    port: u16,
    /// PEM file of the certificate, which is its own authority.
    pub(crate) certificate: PathBuf,
}

/// By path.
type Site = HashMap<String, Content>;

enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Registry {
    /// Serves a model; `dir` takes the certificate.
    pub(crate) fn start(dir: &Path, model: &Published<'_>) -> Self {
        let made = rcgen::generate_simple_self_signed(HOSTS.map(str::to_owned)).unwrap();
        let certificate = dir.join("registry.pem");
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let site = site_of(model);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tls, site) = (Arc::new(tls), Arc::new(site));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (tls, site) = (Arc::clone(&tls), Arc::clone(&site));
                // An error here is a client that left, which is its right.
                std::thread::spawn(move || answer(stream?, tls, &site));
            }
        });
        Self { port, certificate }
    }

    /// What Ollama calls a published model.
    pub(crate) fn name_of(&self, name: &str) -> String {
        format!("{}:{}/library/{name}:latest", HOSTS[0], self.port)
    }
}

fn site_of(model: &Published<'_>) -> Site {
    let mut site = Site::new();
    let digest = name_of(&weights_digest(model.weights, |_, _| {}).unwrap());
    let size = model.weights.metadata().unwrap().len();
    let blobs = format!("/v2/library/{}/blobs", model.name);
    site.insert(format!("{blobs}/{digest}"), Content::File(model.weights.to_owned()));
    let weights = layer("application/vnd.ollama.image.model", &digest, size);
    let mut text = |kind: &str, text: String| {
        let digest = name_of(&Sha256::digest(&text));
        let layer = layer(kind, &digest, text.len() as u64);
        site.insert(format!("{blobs}/{digest}"), Content::Bytes(text.into_bytes()));
        layer
    };
    let config = json!({ "model_format": "gguf", "model_family": "llama", "architecture": "amd64",
                         "os": "linux", "rootfs": { "type": "layers", "diff_ids": [digest] } });
    let config = text("application/vnd.docker.container.image.v1+json", config.to_string());
    let template = model
        .template
        .map(|template| text("application/vnd.ollama.image.template", template.to_owned()));
    let layers: Vec<Value> = [Some(weights), template].into_iter().flatten().collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": config, "layers": layers,
    });
    let path = format!("/v2/library/{}/manifests/latest", model.name);
    site.insert(path, Content::Bytes(manifest.to_string().into_bytes()));
    site
}

fn name_of(digest: &[u8]) -> String {
    digest.iter().fold("sha256:".to_owned(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn layer(kind: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": kind, "digest": digest, "size": size })
}

/// What was asked, in lower case.
#[derive(Default)]
struct Asked {
    method: String,
    path: String,
    host: String,
    /// First and last byte.
    range: Option<(u64, u64)>,
}

impl Asked {
    fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let mut asked = Self::default();
        for line in from.lines() {
            let line = line?.to_lowercase();
            if line.is_empty() {
                break;
            } else if let Some(host) = line.strip_prefix("host: ") {
                host.clone_into(&mut asked.host);
            } else if let Some(range) = line.strip_prefix("range: bytes=") {
                let numbers = range.split_once('-').unwrap();
                asked.range = Some((numbers.0.parse().unwrap(), numbers.1.parse().unwrap()));
            } else if asked.method.is_empty() {
                let mut words = line.split(' ').map(str::to_owned);
                asked.method = words.next().unwrap();
                asked.path = words.next().unwrap();
            }
        }
        Ok(asked)
    }
}

/// One request on a connection.
fn answer(stream: TcpStream, tls: Arc<ServerConfig>, site: &Site) -> io::Result<()> {
    let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let asked = Asked::read(&mut stream)?;
    let mut stream = stream.into_inner();
    give(&mut stream, &asked, site)?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn give(to: &mut impl Write, asked: &Asked, site: &Site) -> io::Result<()> {
    let Some(content) = site.get(&asked.path) else {
        return to.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    };
    let (at_registry, get) = (asked.host.starts_with(HOSTS[0]), asked.method == "get");
    if get && at_registry && asked.path.contains("/blobs/") {
        let elsewhere = asked.host.replacen(HOSTS[0], HOSTS[1], 1);
        return write!(
            to,
            "HTTP/1.1 307 Elsewhere\r\nlocation: https://{elsewhere}{}\r\ncontent-length: 0\r\n\r\n",
            asked.path
        );
    }
    let total = match content {
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::File(path) => path.metadata()?.len(),
    };
    let (from, last) = asked.range.unwrap_or((0, total - 1));
    let (status, length) =
        (if asked.range.is_some() { "206 Partial Content" } else { "200 OK" }, last + 1 - from);
    write!(
        to,
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\
         content-range: bytes {from}-{last}/{total}\r\nconnection: close\r\n\r\n"
    )?;
    match content {
        _ if !get => Ok(()),
        Content::Bytes(bytes) => to.write_all(bytes),
        Content::File(path) => {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(from))?;
            io::copy(&mut file.take(length), to).map(drop)
        }
    }
}
