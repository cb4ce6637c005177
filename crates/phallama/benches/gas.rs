//! What each kind of transaction costs on chain, in gas: whole transactions, cold slots, distinct
//! users.
//!
//! `tools/bench.sh gas` prints a table, with `--json` one JSON
//! object.

mod report;

use phallama_attest::simulated::{
    CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec, PlatformSpec, SimulatedPlatform,
};
use phallama_attest::{Binding, Evidence, NONCE_ON_CHAIN, report_data};
use phallama_chain::{
    Chain, KeyBinding, LockRow, ReceiptRow, Registration, Sender, SettleRow, deploy,
    settle_rows_bytes,
};
use phallama_devchain::{ChainOptions, DevChain, dev_account, serve};
use phallama_host::attestation::{PlatformQuote, bring};
use phallama_host::collateral::CollateralSet;
use phallama_protocol::eip712::{
    Allocation, Batch, Close, Domain, OpenAccount, Settlement, Voucher, channel_id, pod_id,
    rows_hash,
};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::{Signature, Signer};
use phallama_protocol::offers::{Offer, offers_hash};
use report::{Figure, figure};
use serde_json::json;
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error>;

/// Time of block 0; fixed, so that calldata is the same in every run.
const GENESIS_UNIX_S: u64 = 1_800_000_000;
const EXIT_WINDOW_S: u64 = 172_800;
const MANY: u32 = 100;
const DEPOSIT: u64 = 1_000_000;
const LOCKED: u64 = 500_000;

/// A deployment with one pod, and everybody who signs.
struct Stage {
    node: DevChain,
    chain: Chain,
    operator: Sender,
    owner: Sender,
    identity: Signer,
    pod: PodId,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut figures = Vec::new();
    let stage = Stage::new(&mut figures).await?;
    stage.deposits(&mut figures).await?;
    // The first row of each kind is settled before the batches, and the pod is paid out between
    // them, so that every measured transaction finds the pod's credit at zero.
    stage.settles(&users(1), ["gas.lock_per_row_1", "gas.settle_per_row_1"], &mut figures).await?;
    stage.collects(&mut figures).await?;
    let names = ["gas.lock_per_row_100", "gas.settle_per_row_100"];
    stage.settles(&users(MANY), names, &mut figures).await?;
    stage.operator.collect(stage.pod).await?;
    stage.settles_receipts(&mut figures).await?;
    stage.leaves(&mut figures).await?;
    report::print(&figures);
    Ok(())
}

/// A key that anybody can derive.
fn signer(index: u32) -> Signer {
    Signer::from_bytes(&dev_account(index).1).expect("a development account is a valid scalar")
}

/// Users that nobody has seen before: each call starts where another count does not reach.
fn users(count: u32) -> Vec<Signer> {
    (0..count).map(|index| signer(1_000 * (count + 1) + index)).collect()
}

fn offers() -> Vec<Offer> {
    vec![Offer {
        model: "smollm2:135m".to_owned(),
        weights_sha256: Digest32([0xb1; 32]),
        input_price_per_mtok: Amount::from(100_000),
        output_price_per_mtok: Amount::from(400_000),
        context_tokens: 4_096,
        max_output_tokens: 1_024,
    }]
}

fn registration(payout: Address) -> Registration {
    let (salt, url) = ([0xff; 32], "https://pod.example".to_owned());
    Registration { salt, url, payout, offers: offers() }
}

fn binding(identity: &Signer) -> KeyBinding {
    let (model_set_root, policy_digest) = (Digest32([0x51; 32]), Digest32([0x52; 32]));
    KeyBinding { identity: identity.address(), model_set_root, policy_digest }
}

/// A quote of an enclave with this key, on the one machine of this bench.
fn evidence(chain: &Chain, pod: PodId, key: &KeyBinding) -> Evidence {
    let binding = Binding {
        chain_id: chain.config().chain_id,
        registry: chain.config().registry.0,
        pod_id: pod.0,
        identity: key.identity.0,
        model_set_root: key.model_set_root.0,
        policy_digest: key.policy_digest.0,
    };
    let enclave = EnclaveSpec::new([0x3e; 32], report_data(&binding, NONCE_ON_CHAIN));
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    let machine = SimulatedPlatform::new(&root, PlatformSpec::from_seed(b"gas bench"));
    machine.evidence(&enclave, &CollateralSpec::fresh(GENESIS_UNIX_S))
}

#[expect(clippy::cast_precision_loss, reason = "gas is far below 2^53")]
fn gas(name: &'static str, gas_used: u64, rows: usize) -> Figure {
    figure(name, (gas_used as f64 / rows as f64).round(), "gas")
}

impl Stage {
    async fn new(figures: &mut Vec<Figure>) -> Result<Self, Failure> {
        let options =
            ChainOptions { genesis_unix_s: Some(GENESIS_UNIX_S), ..ChainOptions::default() };
        let node = DevChain::new(options);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(serve(node.clone(), listener));
        let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
        let deployment = deploy(&url, &signer(0), root.root_der()).await?;
        let chain = Chain::connect(deployment.config(&url)).await?;
        let (operator, owner) = (chain.sender(&signer(1)), chain.sender(&signer(2)));
        operator.mint_test_token(owner.address(), Amount::from(1_000 * DEPOSIT)).await?;
        let identity = signer(100);
        let registration = registration(signer(101).address());
        let registered = operator.register_pod(&registration).await?;
        figures.push(gas("gas.register_tx", registered.gas_used, 1));
        let pod = pod_id(operator.address(), &registration.salt);
        let stage = Self { node, chain, operator, owner, identity, pod };
        stage.attests(figures).await?;
        Ok(stage)
    }

    /// The first start of an enclave on a machine, and the second with another key.
    async fn attests(&self, figures: &mut Vec<Figure>) -> Result<(), Failure> {
        let first = binding(&signer(102));
        let seen = evidence(&self.chain, self.pod, &first);
        let quote = PlatformQuote::cut(&seen.quote)?;
        let set = CollateralSet::from_evidence(&seen.collateral, &quote.wanted, GENESIS_UNIX_S)
            .map_err(|(item, fault)| format!("{item}: {fault}"))?;
        bring(&self.chain, &self.operator, &quote, &set, GENESIS_UNIX_S, &mut |_, _| ()).await?;
        let tx = self.operator.attest(self.pod, &first, &quote.parts, &quote.leaf).await?;
        figures.push(gas("gas.attest_tx", tx.gas_used, 1));

        let second = binding(&self.identity);
        let quote = PlatformQuote::cut(&evidence(&self.chain, self.pod, &second).quote)?;
        let tx = self.operator.attest_known(self.pod, &second, &quote.parts, &quote.pck).await?;
        figures.push(gas("gas.attest_known_tx", tx.gas_used, 1));
        Ok(())
    }

    fn domain(&self) -> Domain {
        self.chain.domain()
    }

    /// Returns the gas of `openAndDeposit`.
    async fn open(&self, user: &Signer) -> Result<u64, Failure> {
        let (user_address, owner) = (user.address(), self.owner.address());
        let opening = OpenAccount { user: user_address, owner };
        let signature = user.sign(&opening.digest(&self.domain()));
        let amount = Amount::from(DEPOSIT);
        let tx = self.owner.open_and_deposit(user_address, owner, &signature, amount).await?;
        Ok(tx.gas_used)
    }

    async fn deposits(&self, figures: &mut Vec<Figure>) -> Result<(), Failure> {
        // The first deposit ever makes the escrow's token balance; the second is everybody's case.
        self.open(&signer(200)).await?;
        let user = signer(201);
        figures.push(gas("gas.deposit_open_tx", self.open(&user).await?, 1));
        let again = self.owner.deposit(user.address(), Amount::from(DEPOSIT)).await?;
        figures.push(gas("gas.deposit_tx", again.gas_used, 1));
        let withdrawn = self.owner.withdraw(user.address(), Amount::from(1)).await?;
        figures.push(gas("gas.withdraw_tx", withdrawn.gas_used, 1));
        Ok(())
    }

    /// Locks and settles one row per user, each in one transaction; `names` are those of the two.
    async fn settles(
        &self,
        users: &[Signer],
        names: [&'static str; 2],
        figures: &mut Vec<Figure>,
    ) -> Result<(), Failure> {
        figures.push(gas(names[0], self.lock(users).await?, users.len()));
        let rows: Vec<_> = users.iter().map(|user| self.settle_row(user)).collect();
        let rows_hash = rows_hash(&settle_rows_bytes(&rows));
        let batch = Batch { pod_id: self.pod, rows_hash };
        let signature = self.identity.sign(&batch.digest(&self.domain()));
        let tx = self.operator.settle(self.pod, &rows, &signature).await?;
        assert!(tx.skipped_rows().is_empty(), "skipped {:?}", tx.skipped_rows());
        figures.push(gas(names[1], tx.gas_used, users.len()));
        Ok(())
    }

    /// Opens accounts and locks for all of them in one transaction; returns that one's gas.
    async fn lock(&self, users: &[Signer]) -> Result<u64, Failure> {
        for user in users {
            self.open(user).await?;
        }
        let rows: Vec<_> = users.iter().map(|user| self.lock_row(user)).collect();
        let tx = self.operator.lock(self.pod, &rows).await?;
        assert!(tx.skipped_rows().is_empty(), "skipped {:?}", tx.skipped_rows());
        Ok(tx.gas_used)
    }

    /// The first collection makes the payout's token balance, which is the dearer case.
    async fn collects(&self, figures: &mut Vec<Figure>) -> Result<(), Failure> {
        figures.push(gas("gas.collect_tx", self.operator.collect(self.pod).await?.gas_used, 1));
        Ok(())
    }

    async fn settles_receipts(&self, figures: &mut Vec<Figure>) -> Result<(), Failure> {
        let users: Vec<_> = (0..MANY).map(|index| signer(500_000 + index)).collect();
        self.lock(&users).await?;
        let rows: Vec<_> = users.iter().map(|user| self.receipt_row(user)).collect();
        let tx = self.operator.settle_receipts(self.pod, &rows).await?;
        assert!(tx.skipped_rows().is_empty(), "skipped {:?}", tx.skipped_rows());
        figures.push(gas("gas.settle_receipts_per_row_100", tx.gas_used, users.len()));
        Ok(())
    }

    async fn leaves(&self, figures: &mut Vec<Figure>) -> Result<(), Failure> {
        let (exits, closes) = (signer(600_000), signer(600_001));
        self.lock(&[exits.clone(), closes.clone()]).await?;
        let started = self.owner.start_exit(exits.address(), self.pod).await?;
        figures.push(gas("gas.start_exit_tx", started.gas_used, 1));
        self.node.request("evm_increaseTime", json!([EXIT_WINDOW_S + 3_600]))?;
        self.node.request("evm_mine", json!([]))?;
        let finished = self.operator.finish_exit(exits.address(), self.pod).await?;
        figures.push(gas("gas.finish_exit_tx", finished.gas_used, 1));

        let cumulative = Amount::from(LOCKED / 2);
        let channel = channel_id(closes.address(), self.pod);
        let close = Close { channel, epoch: 0, cumulative };
        let signature = self.identity.sign(&close.digest(&self.domain()));
        let closed = self.owner.close(closes.address(), self.pod, cumulative, &signature).await?;
        figures.push(gas("gas.close_tx", closed.gas_used, 1));
        Ok(())
    }

    fn lock_row(&self, user: &Signer) -> LockRow {
        let allocation = Allocation {
            pod_id: self.pod,
            total: Amount::from(LOCKED),
            terms_hash: offers_hash(&offers()),
            epoch: 0,
            deadline_unix_s: GENESIS_UNIX_S + EXIT_WINDOW_S,
        };
        LockRow {
            total: allocation.total,
            deadline_unix_s: allocation.deadline_unix_s,
            terms_hash: allocation.terms_hash,
            epoch: 0,
            signature: user.sign(&allocation.digest(&self.domain())),
        }
    }

    fn voucher(&self, user: &Signer) -> (Amount, Signature) {
        let (identity, cap) = (self.identity.address(), Amount::from(LOCKED / 2));
        let voucher = Voucher { pod_id: self.pod, identity, epoch: 0, cap };
        (voucher.cap, user.sign(&voucher.digest(&self.domain())))
    }

    fn settle_row(&self, user: &Signer) -> SettleRow {
        let (cap, voucher_sig) = self.voucher(user);
        SettleRow { cap, claimed: Amount::from(LOCKED / 4), epoch: 0, voucher_sig }
    }

    fn receipt_row(&self, user: &Signer) -> ReceiptRow {
        let (cap, voucher_sig) = self.voucher(user);
        let settlement = Settlement {
            channel: channel_id(user.address(), self.pod),
            epoch: 0,
            seq: 1,
            cumulative: Amount::from(LOCKED / 4),
            receipt_hash: Digest32([0x7e; 32]),
        };
        ReceiptRow {
            identity: self.identity.address(),
            cap,
            epoch: 0,
            voucher_sig,
            seq: settlement.seq,
            cumulative: settlement.cumulative,
            receipt_hash: settlement.receipt_hash,
            settlement_sig: self.identity.sign(&settlement.digest(&self.domain())),
        }
    }
}
