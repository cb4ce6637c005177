//! The user key's file: an encrypted JSON keystore, version 3, as EVM wallets write it.
//!
//! scrypt turns the password into 32 bytes: the first 16 are the AES-128-CTR key of the secret, the
//! last 16 authenticate the cipher text (`keccak256(key[16..] ‖ ciphertext)`).

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use phallama_protocol::ids::Address;
use phallama_protocol::keys::Signer;
use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Keccak256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Largest keystore file that is read, in bytes.
const FILE_MAX_BYTES: u64 = 16 * 1024;
/// Largest memory that a file may make scrypt take, in bytes: 128 × n × r.
const SCRYPT_MEMORY_MAX_BYTES: u64 = 512 * 1024 * 1024;
const SCRYPT_PARALLEL_MAX: u32 = 16;

/// How expensive guessing the password is made, as log2 of scrypt's `n` (with r = 8, p = 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScryptCost(pub u8);

impl ScryptCost {
    /// 128 MiB and a few hundred milliseconds per guess.
    pub const STANDARD: Self = Self(17);
    /// 4 MiB per guess: for throw-away wallets.
    pub const LIGHT: Self = Self(12);
}

/// A keystore file whose address is known and whose secret is still encrypted.
#[derive(Clone, Debug)]
pub struct Keystore {
    path: PathBuf,
    file: File,
}

/// Why a keystore could not be created or unlocked.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// A file is there already; it may hold money.
    #[error("the keystore {path} exists already and is not overwritten")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// No file there.
    #[error("there is no keystore at {path}")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("cannot {what} the keystore {path}: {source}")]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a keystore of version 3 with scrypt and AES-128-CTR, or outside its limits.
    #[error("{path} is not a usable keystore: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The password does not open the file, or the file was changed.
    #[error("the password does not open the keystore {path}")]
    WrongPassword {
        /// The file.
        path: PathBuf,
    },
    /// The secret is another key than the file says.
    #[error("the keystore {path} holds the key of {got}, its address field says {expected}")]
    OtherAddress {
        /// The file.
        path: PathBuf,
        /// Address of the decrypted key.
        got: Address,
        /// The file's `address`.
        expected: Address,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    id: String,
    address: String,
    crypto: Crypto,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: ScryptParams,
    mac: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ScryptParams {
    dklen: u32,
    n: u64,
    p: u32,
    r: u32,
    salt: String,
}

impl Keystore {
    /// Makes a fresh key and stores it at `path`, readable by the owner alone.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] rather than overwriting; [`KeystoreError::Io`].
    pub fn create(
        path: &Path,
        password: &str,
        cost: ScryptCost,
    ) -> Result<(Self, Signer), KeystoreError> {
        let signer = random_signer();
        Ok((Self::import(path, &signer, password, cost)?, signer))
    }

    /// Stores an existing key at `path`.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn import(
        path: &Path,
        signer: &Signer,
        password: &str,
        cost: ScryptCost,
    ) -> Result<Self, KeystoreError> {
        let made = Self { path: path.to_owned(), file: encrypt(signer, password, cost) };
        write_new(path, &made.json())?;
        Ok(made)
    }

    /// Stores the file as it is at another place, still encrypted.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] rather than overwriting; [`KeystoreError::Io`].
    pub fn copy_to(&self, path: &Path) -> Result<Self, KeystoreError> {
        write_new(path, &self.json())?;
        Ok(Self { path: path.to_owned(), file: self.file.clone() })
    }

    /// Encrypts the key anew and puts it in the place of the old file, whole or not at all.
    ///
    /// # Errors
    /// As [`unlock`](Self::unlock); [`KeystoreError::Io`], and then the old file is as it was.
    pub fn change_password(
        &self,
        old: &str,
        new: &str,
        cost: ScryptCost,
    ) -> Result<Self, KeystoreError> {
        let changed =
            Self { path: self.path.clone(), file: encrypt(&self.unlock(old)?, new, cost) };
        let partial = self.path.with_extension("partial");
        // What a change that was cut short left behind is worth nothing: the old file is there.
        let _ = fs::remove_file(&partial);
        write_new(&partial, &changed.json())?;
        let failed = |source| KeystoreError::Io { what: "write", path: self.path.clone(), source };
        fs::rename(&partial, &self.path).map_err(failed)?;
        if let Some(folder) = self.path.parent() {
            fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(changed)
    }

    fn json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.file).expect("a keystore is plain JSON")
    }

    /// Reads the file without decrypting it.
    ///
    /// # Errors
    /// [`KeystoreError::Missing`], [`KeystoreError::Io`], [`KeystoreError::Malformed`].
    pub fn open(path: &Path) -> Result<Self, KeystoreError> {
        let json = read_limited(path)?;
        let file: File =
            serde_json::from_slice(&json).map_err(|error| malformed(path, error.to_string()))?;
        let keystore = Self { path: path.to_owned(), file };
        keystore.check_format()?;
        Ok(keystore)
    }

    /// The address of the key, as the file states it.
    pub fn address(&self) -> Address {
        parse_address(&self.file.address).expect("the address was parsed when the file was opened")
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Decrypts the key. Takes as long as the file's scrypt parameters say.
    ///
    /// # Errors
    /// [`KeystoreError::WrongPassword`], [`KeystoreError::OtherAddress`],
    /// [`KeystoreError::Malformed`].
    pub fn unlock(&self, password: &str) -> Result<Signer, KeystoreError> {
        let crypto = &self.file.crypto;
        let salt = self.hex(&crypto.kdfparams.salt, "salt")?;
        let key = derive(password, &salt, self.scrypt_params()?);
        let mut secret = Zeroizing::new(self.hex(&crypto.ciphertext, "ciphertext")?);
        let expected = self.hex(&crypto.mac, "mac")?;
        if !bool::from(mac(&key, &secret).as_slice().ct_eq(&expected)) {
            return Err(KeystoreError::WrongPassword { path: self.path.clone() });
        }
        let iv = fixed::<16>(&self.hex(&crypto.cipherparams.iv, "iv")?)
            .ok_or_else(|| malformed(&self.path, "the iv is not 16 bytes".to_owned()))?;
        apply_cipher(&key, &iv, &mut secret);
        let signer = Zeroizing::new(fixed::<32>(&secret).unwrap_or_default());
        let signer = Signer::from_bytes(&signer)
            .map_err(|_| malformed(&self.path, "the secret is not a secp256k1 key".to_owned()))?;
        self.check_address(signer)
    }

    fn check_address(&self, signer: Signer) -> Result<Signer, KeystoreError> {
        let (got, expected) = (signer.address(), self.address());
        if got != expected {
            return Err(KeystoreError::OtherAddress { path: self.path.clone(), got, expected });
        }
        Ok(signer)
    }

    fn check_format(&self) -> Result<(), KeystoreError> {
        let File { version, crypto, address, .. } = &self.file;
        let reason = if *version != 3 {
            format!("version is {version}, expected 3")
        } else if crypto.cipher != "aes-128-ctr" {
            format!("cipher is `{}`, expected `aes-128-ctr`", crypto.cipher)
        } else if crypto.kdf != "scrypt" || crypto.kdfparams.dklen != 32 {
            format!("kdf is `{}`, expected `scrypt` with dklen 32", crypto.kdf)
        } else if parse_address(address).is_none() {
            format!("address `{address}` is not 20 bytes of hex")
        } else {
            return self.scrypt_params().map(|_| ());
        };
        Err(malformed(&self.path, reason))
    }

    fn scrypt_params(&self) -> Result<scrypt::Params, KeystoreError> {
        let ScryptParams { n, r, p, .. } = self.file.crypto.kdfparams;
        let memory_bytes = n.saturating_mul(u64::from(r)).saturating_mul(128);
        let in_bounds = n.is_power_of_two()
            && n > 1
            && (1..=SCRYPT_PARALLEL_MAX).contains(&p)
            && memory_bytes <= SCRYPT_MEMORY_MAX_BYTES;
        let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
        in_bounds
            .then(|| scrypt::Params::new(log_n, r, p).ok())
            .flatten()
            .ok_or_else(|| malformed(&self.path, format!("scrypt n {n}, r {r}, p {p} refused")))
    }

    fn hex(&self, text: &str, field: &str) -> Result<Vec<u8>, KeystoreError> {
        hex::decode(text).map_err(|error| malformed(&self.path, format!("{field}: {error}")))
    }
}

/// A fresh secp256k1 key from the system's randomness.
pub fn random_signer() -> Signer {
    loop {
        let secret = Zeroizing::new(random_bytes::<32>());
        // Fails for zero and for values of the group order and above: about once in 2^128.
        if let Ok(signer) = Signer::from_bytes(&secret) {
            return signer;
        }
    }
}

pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system provides randomness");
    bytes
}

fn encrypt(signer: &Signer, password: &str, cost: ScryptCost) -> File {
    let (salt, iv, id) = (random_bytes::<32>(), random_bytes::<16>(), random_bytes::<16>());
    let params = scrypt::Params::new(cost.0, 8, 1).expect("the cost is below 2^64");
    let key = derive(password, &salt, params);
    let mut secret = Zeroizing::new(signer.to_bytes().to_vec());
    apply_cipher(&key, &iv, &mut secret);
    let kdfparams = ScryptParams { dklen: 32, n: 1 << cost.0, p: 1, r: 8, salt: hex::encode(salt) };
    let crypto = Crypto {
        cipher: "aes-128-ctr".to_owned(),
        cipherparams: CipherParams { iv: hex::encode(iv) },
        mac: hex::encode(mac(&key, &secret)),
        ciphertext: hex::encode(&*secret),
        kdf: "scrypt".to_owned(),
        kdfparams,
    };
    let address = hex::encode(signer.address().0);
    File { version: 3, id: uuid_text(id), address, crypto }
}

fn derive(password: &str, salt: &[u8], params: scrypt::Params) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password.as_bytes(), salt, &params, key.as_mut_slice())
        .expect("32 bytes are a valid output length");
    key
}

fn apply_cipher(key: &[u8; 32], iv: &[u8; 16], data: &mut [u8]) {
    let (cipher_key, _) = key.split_at(16);
    ctr::Ctr128BE::<aes::Aes128>::new_from_slices(cipher_key, iv)
        .expect("key and iv are 16 bytes each")
        .apply_keystream(data);
}

fn mac(key: &[u8; 32], ciphertext: &[u8]) -> [u8; 32] {
    Keccak256::new().chain_update(&key[16..]).chain_update(ciphertext).finalize().into()
}

/// RFC 9562 version 4.
fn uuid_text(mut id: [u8; 16]) -> String {
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    let text = hex::encode(id);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

fn parse_address(text: &str) -> Option<Address> {
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok()?;
    fixed::<20>(&bytes).map(Address)
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn malformed(path: &Path, reason: String) -> KeystoreError {
    KeystoreError::Malformed { path: path.to_owned(), reason }
}

fn read_limited(path: &Path) -> Result<Vec<u8>, KeystoreError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeystoreError::Missing { path: path.to_owned() },
        _ => KeystoreError::Io { what: "read", path: path.to_owned(), source },
    };
    let got = fs::metadata(path).map_err(failed)?.len();
    if got > FILE_MAX_BYTES {
        let reason = format!("{got} bytes are more than the limit of {FILE_MAX_BYTES}");
        return Err(malformed(path, reason));
    }
    fs::read(path).map_err(failed)
}

fn write_new(path: &Path, json: &[u8]) -> Result<(), KeystoreError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeystoreError::Exists { path: path.to_owned() },
        _ => KeystoreError::Io { what: "write", path: path.to_owned(), source },
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(json).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn edited(path: &Path, from: &str, to: &str) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(from), "`{from}` must be in {text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    #[test]
    fn a_created_key_unlocks_with_its_password_alone() {
        let folder = folder();
        let path = folder.path().join("wallet/user.json");
        let (made, signer) = Keystore::create(&path, "open sesame", ScryptCost::LIGHT).unwrap();
        let read = Keystore::open(&path).unwrap();
        assert_eq!(read.address(), signer.address());
        assert_eq!(made.address(), signer.address());
        assert_eq!(read.unlock("open sesame").unwrap().address(), signer.address());
        let wrong = read.unlock("open sesame ").unwrap_err();
        assert!(matches!(wrong, KeystoreError::WrongPassword { .. }), "{wrong}");
    }

    /// The example of the format's own specification (password `testpassword`), with scrypt.
    #[test]
    fn reads_the_published_example() {
        let folder = folder();
        let path = folder.path().join("example.json");
        let json = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
            "ciphertext":"d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c","kdf":"scrypt",
            "kdfparams":{"dklen":32,"n":262144,"p":8,"r":1,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
            "mac":"2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"},
            "address":"008aeeda4d805471df9b2a5b0f38a0c3bcba786b",
            "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
        fs::write(&path, json).unwrap();
        let signer = Keystore::open(&path).unwrap().unlock("testpassword").unwrap();
        let secret = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
        assert_eq!(hex::encode(signer.to_bytes().as_slice()), secret);
    }

    #[test]
    fn never_overwrites_a_key() {
        let folder = folder();
        let path = folder.path().join("user.json");
        Keystore::create(&path, "a", ScryptCost::LIGHT).unwrap();
        let before = fs::read(&path).unwrap();
        let error = Keystore::create(&path, "b", ScryptCost::LIGHT).unwrap_err();
        assert!(matches!(error, KeystoreError::Exists { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    #[cfg(unix)]
    fn only_the_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = folder();
        let path = folder.path().join("user.json");
        Keystore::create(&path, "a", ScryptCost::LIGHT).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn rejects_a_file_that_asks_for_too_much_memory() {
        let folder = folder();
        let path = folder.path().join("user.json");
        Keystore::create(&path, "a", ScryptCost::LIGHT).unwrap();
        edited(&path, "\"n\": 4096", "\"n\": 1073741824");
        let error = Keystore::open(&path).unwrap_err();
        assert!(error.to_string().contains("scrypt n 1073741824"), "{error}");
    }

    #[test]
    fn rejects_another_version_kdf_or_address() {
        for (from, to, said) in [
            ("\"version\": 3", "\"version\": 2", "version is 2"),
            ("\"scrypt\"", "\"pbkdf2\"", "kdf is `pbkdf2`"),
            ("\"aes-128-ctr\"", "\"aes-128-cbc\"", "cipher is `aes-128-cbc`"),
            ("\"address\": \"", "\"address\": \"zz", "is not 20 bytes"),
        ] {
            let folder = folder();
            let path = folder.path().join("user.json");
            Keystore::create(&path, "a", ScryptCost::LIGHT).unwrap();
            edited(&path, from, to);
            let error = Keystore::open(&path).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn says_when_the_key_is_not_the_address() {
        let folder = folder();
        let path = folder.path().join("user.json");
        let (_, signer) = Keystore::create(&path, "a", ScryptCost::LIGHT).unwrap();
        edited(&path, &hex::encode(signer.address().0), &"11".repeat(20));
        let error = Keystore::open(&path).unwrap().unlock("a").unwrap_err();
        assert!(matches!(error, KeystoreError::OtherAddress { .. }), "{error}");
    }

    #[test]
    fn says_when_there_is_no_file() {
        let folder = folder();
        let error = Keystore::open(&folder.path().join("none.json")).unwrap_err();
        assert!(matches!(error, KeystoreError::Missing { .. }), "{error}");
    }

    #[test]
    fn a_changed_password_opens_the_same_key_and_the_old_one_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("user.json");
        let (keystore, signer) = Keystore::create(&path, "old", ScryptCost::LIGHT).unwrap();
        let refused = keystore.change_password("wrong", "new", ScryptCost::LIGHT);
        assert!(matches!(refused, Err(KeystoreError::WrongPassword { .. })), "{refused:?}");
        assert_eq!(
            Keystore::open(&path).unwrap().unlock("old").unwrap().address(),
            signer.address()
        );
        keystore.change_password("old", "new", ScryptCost::LIGHT).unwrap();
        let changed = Keystore::open(&path).unwrap();
        assert_eq!(changed.unlock("new").unwrap().address(), signer.address());
        assert!(matches!(changed.unlock("old"), Err(KeystoreError::WrongPassword { .. })));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_copy_is_as_encrypted_as_the_file_and_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("user.json");
        let (keystore, signer) = Keystore::create(&path, "password", ScryptCost::LIGHT).unwrap();
        let copy = dir.path().join("copy.json");
        keystore.copy_to(&copy).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), fs::read(&path).unwrap());
        let opened = Keystore::open(&copy).unwrap().unlock("password").unwrap();
        assert_eq!(opened.address(), signer.address());
        assert!(matches!(keystore.copy_to(&copy), Err(KeystoreError::Exists { .. })));
    }
}
