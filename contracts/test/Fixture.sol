// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "../src/Eip712.sol";
import {Escrow} from "../src/Escrow.sol";
import {TestToken} from "../src/TestToken.sol";
import {Quote} from "../src/interfaces/IAttestationVerifier.sol";
import {CompactSignature, LockRow, ReceiptRow} from "../src/interfaces/IEscrow.sol";
import {Binding, IPodRegistry, Offer, PodId} from "../src/interfaces/IPodRegistry.sol";
import {deployRegistry} from "./Deploy.sol";
import {Simulation} from "./Simulation.sol";
import {vm} from "./Vm.sol";

/// Deployed contracts, one pod with an attested key, and keys made from labels.
abstract contract Fixture is Simulation {
    uint40 internal constant START = 1_800_000_000;
    uint96 internal constant UNIT = 1_000_000;

    TestToken internal token;
    IPodRegistry internal registry;
    Escrow internal escrow;
    PodId internal podId;

    address internal immutable OPERATOR = addressOf("operator");
    address internal immutable PAYOUT = addressOf("payout");
    address internal immutable OWNER = addressOf("owner");
    address internal immutable USER = addressOf("user");
    address internal immutable IDENTITY = addressOf("identity");

    function deploy() internal {
        vm.warp(START);
        vm.roll(100);
        token = new TestToken();
        startVerifier();
        registry = deployRegistry(verifier);
        escrow = new Escrow(address(token), registry);
        podId = registerPod("salt");
    }

    /// A pod with the key of `identity`, on the one machine that all pods here share.
    function registerPod(string memory salt) internal returns (PodId id) {
        id = listPod(salt);
        vm.prank(OPERATOR);
        registry.setSharing(id, pck.machine, true);
        attest(id, "identity");
    }

    /// A pod without a key.
    function listPod(string memory salt) internal returns (PodId) {
        vm.prank(OPERATOR);
        return
            registry.register(keccak256(bytes(salt)), "https://pod.example:8443", PAYOUT, offers());
    }

    /// Sets or renews the pod's key by a new quote, under collateral that is good for a day.
    function attest(PodId id, string memory label) internal {
        renewCollateral();
        Binding memory bound = binding(label);
        Quote memory quote = sgxQuote(reportData(id, bound));
        bool known = verifier.isKnown(pck);
        vm.prank(registry.pod(id).operator);
        if (known) registry.attestKnown(id, bound, quote, pck);
        else registry.attest(id, bound, quote, leaf);
    }

    function binding(string memory label) internal pure returns (Binding memory) {
        return Binding(addressOf(label), keccak256("model set"), keccak256("policy"));
    }

    /// First half of the report data; the second is zero.
    function reportData(PodId id, Binding memory bound) internal view returns (bytes32) {
        return sha256(
            abi.encodePacked(
                "phallama/1 report data",
                uint8(0),
                uint64(block.chainid),
                address(registry),
                PodId.unwrap(id),
                bound.identity,
                bound.modelSetRoot,
                bound.policyDigest
            )
        );
    }

    /// Mints to this contract and deposits for the user key of `label`, owned by `OWNER`.
    function fund(string memory label, uint256 amount) internal returns (address user) {
        user = addressOf(label);
        token.mint(address(this), amount);
        token.approve(address(escrow), amount);
        escrow.openAndDeposit(user, OWNER, openSignature(label, OWNER), amount);
    }

    /// A funded user with `total` locked for the pod.
    function fundAndLock(string memory label, uint96 total) internal returns (address user) {
        user = fund(label, total);
        lockOne(lockRow(label, total, 0));
    }

    function lockOne(LockRow memory row) internal returns (uint256 moved) {
        LockRow[] memory rows = new LockRow[](1);
        rows[0] = row;
        (moved,) = escrow.lock(podId, rows);
    }

    function settleOne(bytes memory rows) internal returns (uint256 paid) {
        (paid,) = escrow.settle(podId, rows, batchSignature("identity", podId, rows));
    }

    function offers() internal pure returns (Offer[] memory list) {
        list = new Offer[](1);
        list[0] = Offer("smollm2:135m", keccak256("weights"), 50_000, 200_000, 8192, 2048);
    }

    /// Private keys exist only while a test runs: the hash of a label.
    function secret(string memory label) internal pure returns (uint256) {
        return uint256(keccak256(bytes(label)));
    }

    function addressOf(string memory label) internal pure returns (address) {
        return vm.addr(secret(label));
    }

    function channelOf(address user) internal view returns (bytes32) {
        return keccak256(abi.encode(user, podId));
    }

    function sign(string memory label, bytes32 structHash)
        internal
        view
        returns (CompactSignature memory)
    {
        bytes32 digest = Eip712.digest(escrow.DOMAIN_SEPARATOR(), structHash);
        (bytes32 r, bytes32 vs) = vm.signCompact(secret(label), digest);
        return CompactSignature(r, vs);
    }

    function openSignature(string memory label, address owner)
        internal
        view
        returns (CompactSignature memory)
    {
        return sign(label, keccak256(abi.encode(Eip712.OPEN_ACCOUNT_TYPE, addressOf(label), owner)));
    }

    function lockRow(string memory label, uint96 total, uint24 epoch)
        internal
        view
        returns (LockRow memory row)
    {
        row.total = total;
        row.termsHash = keccak256("terms");
        row.epoch = epoch;
        row.deadline = uint40(block.timestamp + 1 hours);
        row.signature = sign(
            label,
            keccak256(
                abi.encode(Eip712.ALLOCATION_TYPE, podId, total, row.termsHash, epoch, row.deadline)
            )
        );
    }

    /// A voucher of `label` that only `identity` may claim.
    function voucherSignature(
        string memory label,
        string memory identity,
        PodId pod,
        uint96 cap,
        uint24 epoch
    ) internal view returns (CompactSignature memory) {
        return sign(
            label, keccak256(abi.encode(Eip712.VOUCHER_TYPE, pod, addressOf(identity), epoch, cap))
        );
    }

    /// Under a voucher for `identity`, who signs most batches here.
    function settleRow(string memory label, uint96 cap, uint96 claimed, uint24 epoch)
        internal
        view
        returns (bytes memory)
    {
        return settleRow(label, "identity", cap, claimed, epoch);
    }

    function settleRow(
        string memory label,
        string memory identity,
        uint96 cap,
        uint96 claimed,
        uint24 epoch
    ) internal view returns (bytes memory) {
        CompactSignature memory signature = voucherSignature(label, identity, podId, cap, epoch);
        return abi.encodePacked(cap, claimed, epoch, signature.r, signature.vs);
    }

    function batchSignature(string memory label, PodId pod, bytes memory rows)
        internal
        view
        returns (CompactSignature memory)
    {
        return sign(label, keccak256(abi.encode(Eip712.BATCH_TYPE, pod, keccak256(rows))));
    }

    /// The settlement is signed by `identity` over the channel of the user key of `label`, whose
    /// voucher names `identity` too.
    function receiptRow(
        string memory label,
        string memory identity,
        uint96 cap,
        uint96 cumulative,
        uint24 epoch
    ) internal view returns (ReceiptRow memory row) {
        row.identity = addressOf(identity);
        row.cap = cap;
        row.cumulative = cumulative;
        row.epoch = epoch;
        row.seq = 7;
        row.receiptHash = keccak256("receipt");
        row.voucher = voucherSignature(label, identity, podId, cap, epoch);
        row.settlement = sign(
            identity,
            keccak256(
                abi.encode(
                    Eip712.SETTLEMENT_TYPE,
                    channelOf(addressOf(label)),
                    epoch,
                    row.seq,
                    cumulative,
                    row.receiptHash
                )
            )
        );
    }

    function closeSignature(string memory label, address user, uint24 epoch, uint96 cumulative)
        internal
        view
        returns (CompactSignature memory)
    {
        return
            sign(
                label, keccak256(abi.encode(Eip712.CLOSE_TYPE, channelOf(user), epoch, cumulative))
            );
    }

    function exitSignature(string memory label, uint24 epoch)
        internal
        view
        returns (CompactSignature memory)
    {
        return sign(label, keccak256(abi.encode(Eip712.START_EXIT_TYPE, podId, epoch)));
    }
}
