//! What an enclave does with a voucher before it works for it: the digest, and whose signature it
//! is.

use std::hint::black_box;
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Instant;

use phallama_protocol::eip712::{Domain, Voucher};
use phallama_protocol::ids::{Address, Amount, PodId};
use phallama_protocol::keys::{Signature, Signer, recover};

/// Vouchers of as many users, so that no signature is in a cache because it was just checked.
const VOUCHERS: u64 = 2_000;
const DOMAIN: Domain = Domain { chain_id: 2035, escrow: Address([2; 20]) };

struct Signed {
    user: Address,
    voucher: Voucher,
    signature: Signature,
}

/// On all cores together.
pub(crate) fn verified_per_s() -> f64 {
    let vouchers: Vec<Signed> = (1..=VOUCHERS).map(signed).collect();
    let cores = available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| verify(&vouchers))).collect();
        threads.into_iter().map(|thread| thread.join().expect("verifying does not panic")).sum()
    })
}

fn signed(number: u64) -> Signed {
    let mut secret = [7; 32];
    secret[24..].copy_from_slice(&number.to_be_bytes());
    let signer = Signer::from_bytes(&secret).expect("far below the order of the curve");
    let cap = Amount::from(1_000_000 + number);
    let identity = Address([3; 20]);
    let voucher = Voucher { pod_id: PodId([1; 32]), identity, epoch: 0, cap };
    Signed { user: signer.address(), voucher, signature: signer.sign(&voucher.digest(&DOMAIN)) }
}

fn verify(vouchers: &[Signed]) -> f64 {
    let (began, mut count) = (Instant::now(), 0_u32);
    for signed in vouchers.iter().cycle() {
        let digest = black_box(signed).voucher.digest(&DOMAIN);
        assert_eq!(recover(&digest, &signed.signature), Ok(signed.user));
        count += 1;
        if began.elapsed() >= crate::FOR {
            break;
        }
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}
