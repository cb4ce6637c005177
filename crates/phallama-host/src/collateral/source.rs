//! Where a pod's collateral comes from: the cache, the services in order, or nowhere.

use std::fmt;

use phallama_attest::Collateral;

use super::cache::{Cache, Cached};
use super::{
    Document, Endpoint, Fault, HttpLimits, Item, Wanted, Window, judge, root_distribution_point,
};

/// Items are asked for again a day after they came, sooner when they live for less than two.
const REFRESH_AFTER_S: u64 = 86_400;

/// The services and what they served so far.
#[derive(Clone, Debug)]
pub struct CollateralSource {
    endpoints: Vec<Endpoint>,
    limits: HttpLimits,
    cache: Cache,
}

/// An item that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The item.
    pub document: Document,
    /// When it is valid.
    pub window: Window,
}

/// A whole set, all of it valid when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollateralSet {
    /// See [`Item::RootCrl`].
    pub root_crl: Held,
    /// See [`Item::PckCrl`].
    pub pck_crl: Held,
    /// See [`Item::TcbInfo`].
    pub tcb_info: Held,
    /// See [`Item::QeIdentity`].
    pub qe_identity: Held,
}

/// Services that were asked in vain, with why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried(pub Vec<(String, Fault)>);

/// Something that the operator should hear of and that stopped nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// A service was left aside.
    #[error("collateral service {url} {fault}; it was skipped for the {item}")]
    Skipped {
        /// What was asked for.
        item: Item,
        /// The service.
        url: String,
        /// Why.
        fault: Fault,
    },
    /// Nobody gave a newer one.
    #[error(
        "no collateral service gave a newer {item}; the one of unix time {fetched_at_unix_s} is \
         used until it expires at {next_update_unix_s}\n{tried}"
    )]
    Stale {
        /// The item.
        item: Item,
        /// When it was fetched.
        fetched_at_unix_s: u64,
        /// When it ends.
        next_update_unix_s: u64,
        /// Who was asked.
        tried: Tried,
    },
    /// What was fetched could not be kept.
    #[error("the {item} could not be kept on disk: {reason}")]
    NotKept {
        /// The item.
        item: Item,
        /// What the system said.
        reason: String,
    },
}

/// There is no collateral to go on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollateralError {
    /// What was held has expired, and nobody gives a newer one.
    #[error(
        "the {item} expired at unix time {next_update_unix_s}, and no collateral service gave a \
         newer one\n{tried}"
    )]
    Expired {
        /// The item.
        item: Item,
        /// First second at which it was no longer valid.
        next_update_unix_s: u64,
        /// Who was asked.
        tried: Tried,
    },
    /// There never was one.
    #[error("no collateral service gave the {item}\n{tried}")]
    Unavailable {
        /// The item.
        item: Item,
        /// Who was asked.
        tried: Tried,
    },
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("  no service is configured");
        }
        let lines: Vec<String> =
            self.0.iter().map(|(url, fault)| format!("  {url} {fault}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// What the cache has.
enum OnDisk {
    Nothing,
    Expired { next_update_unix_s: u64 },
    Good { held: Held, fetched_at_unix_s: u64 },
}

impl CollateralSource {
    /// Services in the order in which they are asked.
    pub fn new(endpoints: Vec<Endpoint>, limits: HttpLimits, cache: Cache) -> Self {
        Self { endpoints, limits, cache }
    }

    /// A set for `wanted` that is valid at `now_unix_s`, and what the operator should hear of.
    ///
    /// # Errors
    /// [`CollateralError`] of the first item that is not to be had.
    pub async fn set(
        &self,
        wanted: &Wanted,
        now_unix_s: u64,
    ) -> Result<(CollateralSet, Vec<Remark>), CollateralError> {
        let mut remarks = Vec::new();
        let mut item = async |item| self.item(item, wanted, now_unix_s, &mut remarks).await;
        let set = CollateralSet {
            root_crl: item(Item::RootCrl).await?,
            pck_crl: item(Item::PckCrl).await?,
            tcb_info: item(Item::TcbInfo).await?,
            qe_identity: item(Item::QeIdentity).await?,
        };
        Ok((set, remarks))
    }

    async fn item(
        &self,
        item: Item,
        wanted: &Wanted,
        now_unix_s: u64,
        remarks: &mut Vec<Remark>,
    ) -> Result<Held, CollateralError> {
        let on_disk = self.on_disk(item, wanted, now_unix_s);
        if let OnDisk::Good { held, fetched_at_unix_s } = &on_disk
            && now_unix_s < refresh_at(held.window, *fetched_at_unix_s)
        {
            return Ok(held.clone());
        }
        let newest = match &on_disk {
            OnDisk::Good { held, .. } => held.window.issued_at_unix_s,
            _ => 0,
        };
        let mut tried = Tried(Vec::new());
        match self.fetch(item, wanted, newest, now_unix_s, &mut tried).await {
            Some((held, from)) => {
                let skipped = |(url, fault)| Remark::Skipped { item, url, fault };
                remarks.extend(tried.0.into_iter().map(skipped));
                remarks.extend(self.keep(item, wanted, from, &held, now_unix_s));
                Ok(held)
            }
            None => match on_disk {
                OnDisk::Good { held, fetched_at_unix_s } => {
                    let next_update_unix_s = held.window.next_update_unix_s;
                    let stale =
                        Remark::Stale { item, fetched_at_unix_s, next_update_unix_s, tried };
                    remarks.push(stale);
                    Ok(held)
                }
                OnDisk::Expired { next_update_unix_s } => {
                    Err(CollateralError::Expired { item, next_update_unix_s, tried })
                }
                OnDisk::Nothing => Err(CollateralError::Unavailable { item, tried }),
            },
        }
    }

    fn on_disk(&self, item: Item, wanted: &Wanted, now_unix_s: u64) -> OnDisk {
        let Some(cached) = self.cache.load(item, wanted) else { return OnDisk::Nothing };
        let Cached { fetched_at_unix_s, document, .. } = cached;
        match judge(item, &document, wanted, now_unix_s) {
            Ok(window) => OnDisk::Good { held: Held { document, window }, fetched_at_unix_s },
            Err(Fault::Expired { end_unix_s, .. }) => {
                OnDisk::Expired { next_update_unix_s: end_unix_s }
            }
            Err(_) => OnDisk::Nothing,
        }
    }

    /// The first good answer that is not older than `newest_unix_s`, and whose it is.
    async fn fetch(
        &self,
        item: Item,
        wanted: &Wanted,
        newest_unix_s: u64,
        now_unix_s: u64,
        tried: &mut Tried,
    ) -> Option<(Held, String)> {
        for endpoint in &self.endpoints {
            let fetched = endpoint.fetch(item, wanted).await;
            match take(item, fetched, wanted, newest_unix_s, now_unix_s) {
                Ok(held) => return Some((held, endpoint.url().to_owned())),
                Err(fault) => tried.0.push((endpoint.url().to_owned(), fault)),
            }
        }
        if item != Item::RootCrl || self.endpoints.is_empty() {
            return None;
        }
        let endpoint = Endpoint::new(&root_distribution_point(&wanted.root_der)?, self.limits);
        let endpoint = endpoint.ok()?;
        let fetched = endpoint.fetch_root_crl().await;
        match take(item, fetched, wanted, newest_unix_s, now_unix_s) {
            Ok(held) => Some((held, endpoint.url().to_owned())),
            Err(fault) => {
                tried.0.push((endpoint.url().to_owned(), fault));
                None
            }
        }
    }

    fn keep(
        &self,
        item: Item,
        wanted: &Wanted,
        from: String,
        held: &Held,
        fetched_at_unix_s: u64,
    ) -> Option<Remark> {
        let cached = Cached { from, fetched_at_unix_s, document: held.document.clone() };
        let error = self.cache.store(item, wanted, &cached).err()?;
        Some(Remark::NotKept { item, reason: error.to_string() })
    }
}

fn take(
    item: Item,
    fetched: Result<Document, Fault>,
    wanted: &Wanted,
    held_unix_s: u64,
    now_unix_s: u64,
) -> Result<Held, Fault> {
    let document = fetched?;
    let window = judge(item, &document, wanted, now_unix_s)?;
    let offered_unix_s = window.issued_at_unix_s;
    if offered_unix_s < held_unix_s {
        return Err(Fault::Older { held_unix_s, offered_unix_s });
    }
    Ok(Held { document, window })
}

/// When an item is asked for again.
fn refresh_at(window: Window, fetched_at_unix_s: u64) -> u64 {
    let life_s = window.next_update_unix_s.saturating_sub(fetched_at_unix_s);
    fetched_at_unix_s.saturating_add(REFRESH_AFTER_S.min(life_s / 2))
}

impl CollateralSet {
    /// The set inside an evidence document.
    ///
    /// # Errors
    /// The first item that is not good at `now_unix_s`, and why.
    pub fn from_evidence(
        collateral: &Collateral,
        wanted: &Wanted,
        now_unix_s: u64,
    ) -> Result<Self, (Item, Fault)> {
        let held = |item, chain: &str, body: &[u8], signature: &[u8]| {
            let (body, signature) = (body.to_vec(), signature.to_vec());
            let document = Document { issuer_chain: chain.to_owned(), body, signature };
            let window = judge(item, &document, wanted, now_unix_s);
            window.map(|window| Held { document, window }).map_err(|fault| (item, fault))
        };
        let Collateral { tcb_info, tcb_info_signature, qe_identity, qe_identity_signature, .. } =
            collateral;
        let (pck_chain, tcb_chain, qe_chain) = (
            &collateral.pck_crl_issuer_chain,
            &collateral.tcb_info_issuer_chain,
            &collateral.qe_identity_issuer_chain,
        );
        Ok(Self {
            root_crl: held(Item::RootCrl, "", &collateral.root_ca_crl, &[])?,
            pck_crl: held(Item::PckCrl, pck_chain, &collateral.pck_crl, &[])?,
            tcb_info: held(Item::TcbInfo, tcb_chain, tcb_info.as_bytes(), tcb_info_signature)?,
            qe_identity: {
                let json = qe_identity.as_bytes();
                held(Item::QeIdentity, qe_chain, json, qe_identity_signature)?
            },
        })
    }

    /// As an evidence document carries it.
    pub fn to_evidence(&self) -> Collateral {
        let text = |held: &Held| String::from_utf8_lossy(&held.document.body).into_owned();
        Collateral {
            pck_crl_issuer_chain: self.pck_crl.document.issuer_chain.clone(),
            root_ca_crl: self.root_crl.document.body.clone(),
            pck_crl: self.pck_crl.document.body.clone(),
            tcb_info_issuer_chain: self.tcb_info.document.issuer_chain.clone(),
            tcb_info: text(&self.tcb_info),
            tcb_info_signature: self.tcb_info.document.signature.clone(),
            qe_identity_issuer_chain: self.qe_identity.document.issuer_chain.clone(),
            qe_identity: text(&self.qe_identity),
            qe_identity_signature: self.qe_identity.document.signature.clone(),
            pck_certificate_chain: None,
        }
    }

    /// One item of the set.
    pub fn held(&self, item: Item) -> &Held {
        match item {
            Item::RootCrl => &self.root_crl,
            Item::PckCrl => &self.pck_crl,
            Item::TcbInfo => &self.tcb_info,
            Item::QeIdentity => &self.qe_identity,
        }
    }

    /// First second at which some item is no longer valid.
    pub fn next_update_unix_s(&self) -> u64 {
        let ends = Item::ALL.map(|item| self.held(item).window.next_update_unix_s);
        ends.into_iter().min().unwrap_or(0)
    }
}
