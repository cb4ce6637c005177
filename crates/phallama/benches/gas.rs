//! What each kind of transaction costs on chain, in gas: whole transactions, cold slots, distinct
//! users.
//!
//! `cargo bench --profile dev -p phallama --bench gas` prints a table, with `-- --json` one JSON
//! object.

mod report;

use phallama_chain::{
    Chain, KeyRegistration, LockRow, ReceiptRow, Registration, Sender, SettleRow, deploy,
    settle_rows_bytes,
};
use phallama_devchain::{ChainOptions, DevChain, dev_account, serve};
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
const KEY_LIFE_S: u64 = 6 * 86_400;
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

fn registration(identity: Address, payout: Address) -> Registration {
    Registration {
        salt: [0xff; 32],
        url: "https://pod.example".to_owned(),
        payout,
        offers: offers(),
        key: KeyRegistration {
            identity,
            expiry_unix_s: GENESIS_UNIX_S + KEY_LIFE_S,
            measurement: Digest32([0x3e; 32]),
            quote_hash: Digest32([0x40; 32]),
            evidence_uri: String::new(),
        },
    }
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
        let deployment = deploy(&url, &signer(0)).await?;
        let chain = Chain::connect(deployment.config(&url)).await?;
        let (operator, owner) = (chain.sender(&signer(1)), chain.sender(&signer(2)));
        operator.mint_test_token(owner.address(), Amount::from(1_000 * DEPOSIT)).await?;
        let identity = signer(100);
        let registration = registration(identity.address(), signer(101).address());
        let registered = operator.register_pod(&registration).await?;
        figures.push(gas("gas.register_tx", registered.gas_used, 1));
        let pod = pod_id(operator.address(), &registration.salt);
        Ok(Self { node, chain, operator, owner, identity, pod })
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
        let voucher = Voucher { pod_id: self.pod, epoch: 0, cap: Amount::from(LOCKED / 2) };
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
