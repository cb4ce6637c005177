//! What the holder of a token signs so that a deposit needs no transaction of its own: EIP-2612
//! permits and EIP-3009 authorizations, in the token's own EIP-712 domain.

use crate::eip712::word;
use crate::hash::keccak256;
use crate::ids::{Address, Amount};

const DOMAIN_TYPE: &[u8] =
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const DEPOSIT_TYPE: &[u8] = b"Deposit(address user,bytes32 salt)";

/// The token for which a digest is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDomain {
    /// `name()`.
    pub name: String,
    /// The domain's version; no ERC-20 function has to state it.
    pub version: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The token.
    pub token: Address,
}

/// EIP-2612: `spender` may take `value` from `owner`, who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Who pays.
    pub owner: Address,
    /// Who may take.
    pub spender: Address,
    /// In the token's smallest unit.
    pub value: Amount,
    /// The token's `nonces(owner)`.
    pub nonce: u64,
    /// Last second in which the token takes it.
    pub deadline_unix_s: u64,
}

/// EIP-3009: `to` may fetch `value` from `from`, who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveWithAuthorization {
    /// Who pays.
    pub from: Address,
    /// Who fetches.
    pub to: Address,
    /// In the token's smallest unit.
    pub value: Amount,
    /// Valid after this second.
    pub valid_after_unix_s: u64,
    /// Valid before this second.
    pub valid_before_unix_s: u64,
    /// For a deposit: [`deposit_nonce`].
    pub nonce: [u8; 32],
}

impl TokenDomain {
    /// The EIP-712 domain separator, which the token's `DOMAIN_SEPARATOR()` must equal.
    pub fn separator(&self) -> [u8; 32] {
        keccak256(&[
            &keccak256(&[DOMAIN_TYPE]),
            &keccak256(&[self.name.as_bytes()]),
            &keccak256(&[self.version.as_bytes()]),
            &word(&self.chain_id.to_be_bytes()),
            &word(&self.token.0),
        ])
    }

    fn digest(&self, type_text: &str, fields: &[[u8; 32]]) -> [u8; 32] {
        let struct_hash = keccak256(&[&keccak256(&[type_text.as_bytes()]), fields.as_flattened()]);
        keccak256(&[&[0x19, 0x01], &self.separator(), &struct_hash])
    }
}

impl Permit {
    /// The 32 bytes to sign.
    pub fn digest(&self, domain: &TokenDomain) -> [u8; 32] {
        let fields = [
            word(&self.owner.0),
            word(&self.spender.0),
            word(&self.value.to_be_bytes()),
            word(&self.nonce.to_be_bytes()),
            word(&self.deadline_unix_s.to_be_bytes()),
        ];
        let text = "Permit(address owner,address spender,uint256 value,uint256 nonce,\
                    uint256 deadline)";
        domain.digest(text, &fields)
    }
}

impl ReceiveWithAuthorization {
    /// The 32 bytes to sign.
    pub fn digest(&self, domain: &TokenDomain) -> [u8; 32] {
        let fields = [
            word(&self.from.0),
            word(&self.to.0),
            word(&self.value.to_be_bytes()),
            word(&self.valid_after_unix_s.to_be_bytes()),
            word(&self.valid_before_unix_s.to_be_bytes()),
            self.nonce,
        ];
        let text = "ReceiveWithAuthorization(address from,address to,uint256 value,\
                    uint256 validAfter,uint256 validBefore,bytes32 nonce)";
        domain.digest(text, &fields)
    }
}

/// The nonce that says for whom an authorization pays (spec/billing.md, deposits by signature).
pub fn deposit_nonce(user: Address, salt: &[u8; 32]) -> [u8; 32] {
    keccak256(&[&keccak256(&[DEPOSIT_TYPE]), &word(&user.0), salt])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> TokenDomain {
        let (name, version) = ("Phallama Test Token".to_owned(), "1".to_owned());
        TokenDomain { name, version, chain_id: 31_337, token: Address([7; 20]) }
    }

    #[test]
    fn permit_digest_depends_on_every_field_and_on_the_token() {
        let (owner, spender) = (Address([1; 20]), Address([2; 20]));
        let (value, nonce, deadline_unix_s) = (Amount::from(3), 4, 5);
        let permit = Permit { owner, spender, value, nonce, deadline_unix_s };
        let base = permit.digest(&domain());
        let others = [
            Permit { owner: spender, ..permit }.digest(&domain()),
            Permit { spender: owner, ..permit }.digest(&domain()),
            Permit { value: 4.into(), ..permit }.digest(&domain()),
            Permit { nonce: 5, ..permit }.digest(&domain()),
            Permit { deadline_unix_s: 6, ..permit }.digest(&domain()),
            permit.digest(&TokenDomain { version: "2".to_owned(), ..domain() }),
            permit.digest(&TokenDomain { chain_id: 1, ..domain() }),
            permit.digest(&TokenDomain { token: owner, ..domain() }),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn deposit_nonce_is_of_one_user_and_one_salt() {
        let base = deposit_nonce(Address([1; 20]), &[2; 32]);
        assert_ne!(deposit_nonce(Address([2; 20]), &[2; 32]), base);
        assert_ne!(deposit_nonce(Address([1; 20]), &[3; 32]), base);
    }
}
