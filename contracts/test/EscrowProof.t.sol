// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Escrow} from "../src/Escrow.sol";
import {Eip712} from "../src/Eip712.sol";
import {Slots} from "../src/Slots.sol";
import {
    Account,
    Channel,
    CompactSignature,
    LockRow,
    ReceiptRow
} from "../src/interfaces/IEscrow.sol";
import {IPodRegistry, PodId} from "../src/interfaces/IPodRegistry.sol";

/// The cheatcodes of halmos that these proofs use.
interface Svm {
    function enableSymbolicStorage(address target) external;
}

Svm constant svm = Svm(address(uint160(uint256(keccak256("svm cheat code")))));

/// A registry that takes every key.
contract AnyKey {
    function keyGoodUntil(PodId, address) external pure returns (uint256) {
        return type(uint256).max;
    }
}

/// Proofs by halmos 0.3.3 over all arguments and all states of the storage, not only those that
/// calls lead to: `halmos --contract EscrowProof`. Each says what the new state is as a function of
/// the old one.
///
/// Assumed of the old state: `claimed ≤ locked`, which each proof shows of the new one (`claim`
/// keeps it, and `assertEnded` makes them equal). `ecrecover` is a function of which nothing is
/// known but that it is one: a signature stands for any signer.
contract EscrowProof {
    /// Of `settle`.
    struct Row {
        uint96 cap;
        uint96 claimed;
        uint24 epoch;
        CompactSignature voucher;
    }

    Escrow private escrow;
    Channel private word;
    PodId private constant POD = PodId.wrap(bytes32(uint256(7)));

    function setUp() public {
        address any = address(new AnyKey());
        escrow = new Escrow(any, IPodRegistry(any));
        svm.enableSymbolicStorage(address(escrow));
    }

    /// `claim` pays the least of cap, claim and lock above what was paid, in its epoch, and touches
    /// nothing but `claimed`.
    function check_claim(Channel memory before, uint256 head) public {
        word = before;
        uint256 amount = Slots.claim(word, head);
        uint96 cap = uint96(head >> 160);
        uint96 claimed = uint96(head >> 64);
        Channel memory expected = claim(before, cap, claimed, uint24(head >> 40));
        assertSame(word, expected);
        assert(amount == expected.claimed - before.claimed);
    }

    /// A row of `settle`, whoever signed it for whoever signed the batch: that signer's channel is
    /// claimed, the pod is credited as much, the row is marked when that is nothing, and no account
    /// changes.
    function check_settle(Row memory row, CompactSignature memory batch) public {
        address identity = signerOf(batchHash(row), batch);
        address user = signerOf(voucherHash(identity, row.epoch, row.cap), row.voucher);
        Channel memory before = escrow.channel(user, POD);
        if (before.claimed > before.locked) return;
        Channel memory expected = before;
        if (user != address(0)) expected = claim(before, row.cap, row.claimed, row.epoch);
        uint256 credit = escrow.credit(POD);
        try escrow.settle(POD, pack(row), batch) returns (uint256 paid, bytes memory skipped) {
            assertSame(escrow.channel(user, POD), expected);
            assert(paid == expected.claimed - before.claimed);
            assert(escrow.credit(POD) == credit + paid);
            assert((skipped[0] == 0x01) == (paid == 0));
        } catch {
            assert(identity == address(0) || nearlyFull(credit));
        }
    }

    /// A row of `settle` changes nobody else's channel, nobody's account and no other pod's credit.
    function check_settleTouchesNothingElse(
        Row memory row,
        CompactSignature memory batch,
        address other,
        PodId pod
    ) public {
        address identity = signerOf(batchHash(row), batch);
        address user = signerOf(voucherHash(identity, row.epoch, row.cap), row.voucher);
        if (other == user && PodId.unwrap(pod) == PodId.unwrap(POD)) return;
        Channel memory before = escrow.channel(other, pod);
        Account memory account = escrow.account(other);
        uint256 credit = escrow.credit(pod);
        escrow.settle(POD, pack(row), batch);
        assertSame(escrow.channel(other, pod), before);
        assertSame(escrow.account(other), account);
        assert(PodId.unwrap(pod) == PodId.unwrap(POD) || escrow.credit(pod) == credit);
    }

    /// A row of `settleReceipts` pays the same when its voucher is somebody's and its settlement is
    /// of the identity that the voucher names, else nothing.
    function check_settleReceipts(ReceiptRow memory row) public {
        address user = signerOf(voucherHash(row.identity, row.epoch, row.cap), row.voucher);
        address identity = signerOf(settlementHash(user, row), row.settlement);
        Channel memory before = escrow.channel(user, POD);
        uint256 credit = escrow.credit(POD);
        if (before.claimed > before.locked || nearlyFull(credit)) return;
        Channel memory expected = before;
        if (user != address(0) && identity != address(0) && identity == row.identity) {
            expected = claim(before, row.cap, row.cumulative, row.epoch);
        }
        ReceiptRow[] memory rows = new ReceiptRow[](1);
        rows[0] = row;
        (uint256 paid,) = escrow.settleReceipts(POD, rows);
        assertSame(escrow.channel(user, POD), expected);
        assert(paid == expected.claimed - before.claimed);
        assert(escrow.credit(POD) == credit + paid);
    }

    /// A row of `lock`, whoever signed it: what the channel gets is what the free part loses, or
    /// nothing changes and the row is marked.
    function check_lock(LockRow memory row) public {
        address user = signerOf(allocationHash(row), row.signature);
        Channel memory before = escrow.channel(user, POD);
        Account memory account = escrow.account(user);
        Channel memory locked = Channel(row.total, before.claimed, before.exitAt, before.epoch);
        bool good = user != address(0) && row.epoch == before.epoch && before.exitAt == 0
            && block.timestamp <= row.deadline && row.total > before.locked
            && row.total - before.locked <= account.free;
        LockRow[] memory rows = new LockRow[](1);
        rows[0] = row;
        (uint256 moved, bytes memory skipped) = escrow.lock(POD, rows);
        assert(moved == (good ? row.total - before.locked : 0));
        assert((skipped[0] == 0x00) == good);
        assertSame(escrow.channel(user, POD), good ? locked : before);
        Account memory later = escrow.account(user);
        assert(later.owner == account.owner);
        assert(uint256(later.free) + moved == account.free);
    }

    /// `close` pays what is above `claimed` up to the lock, frees the exact rest, and begins the
    /// next epoch with nothing reserved. It fails only without a signature, or at the end of a
    /// number's range.
    function check_close(address user, uint96 cumulative, CompactSignature memory signature)
        public
    {
        Channel memory before = escrow.channel(user, POD);
        Account memory account = escrow.account(user);
        uint256 credit = escrow.credit(POD);
        if (before.claimed > before.locked || account.owner != address(this)) return;
        bytes32 structHash = closeHash(user, before.epoch, cumulative);
        address identity = signerOf(structHash, signature);
        try escrow.close(user, POD, cumulative, signature) {
            assert(identity != address(0));
            Channel memory claimed = claim(before, cumulative, cumulative, before.epoch);
            assertEnded(user, before, account, claimed.claimed);
            assert(escrow.credit(POD) == credit + (claimed.claimed - before.claimed));
        } catch {
            assert(identity == address(0) || atTheEnd(before, account) || nearlyFull(credit));
        }
    }

    /// `finishExit` frees everything unclaimed, for whoever calls it, exactly when the time has
    /// come.
    function check_finishExit(address user) public {
        Channel memory before = escrow.channel(user, POD);
        Account memory account = escrow.account(user);
        uint256 credit = escrow.credit(POD);
        if (before.claimed > before.locked) return;
        bool due = before.exitAt != 0 && block.timestamp >= before.exitAt;
        try escrow.finishExit(user, POD) {
            assert(due);
            assertEnded(user, before, account, before.claimed);
            assert(escrow.credit(POD) == credit);
        } catch {
            assert(!due || atTheEnd(before, account));
        }
    }

    /// `startExit` sets the time and nothing else; a running exit keeps its time.
    function check_startExit(address user) public {
        Channel memory before = escrow.channel(user, POD);
        if (escrow.account(user).owner != address(this)) return;
        try escrow.startExit(user, POD) {
            assert(before.exitAt == 0);
            Channel memory expected = before;
            expected.exitAt = uint40(block.timestamp + 48 hours);
            assertSame(escrow.channel(user, POD), expected);
        } catch {
            assert(before.exitAt != 0);
        }
    }

    /// The rule in words: the least of three, if that is more than before and the epoch is right.
    function claim(Channel memory before, uint96 cap, uint96 claimed, uint24 epoch)
        private
        pure
        returns (Channel memory later)
    {
        later = Channel(before.locked, before.claimed, before.exitAt, before.epoch);
        uint96 least = cap < claimed ? cap : claimed;
        if (before.locked < least) least = before.locked;
        if (epoch == before.epoch && least > before.claimed) later.claimed = least;
    }

    function assertEnded(
        address user,
        Channel memory before,
        Account memory account,
        uint96 claimed
    ) private view {
        assertSame(escrow.channel(user, POD), Channel(claimed, claimed, 0, before.epoch + 1));
        Account memory later = escrow.account(user);
        assert(later.owner == account.owner);
        assert(uint256(later.free) == uint256(account.free) + (before.locked - claimed));
    }

    /// What the next epoch or the free part could not hold: NatSpec of `IEscrow`, liveness.
    function atTheEnd(Channel memory before, Account memory account) private pure returns (bool) {
        uint256 most = uint256(account.free) + (before.locked - before.claimed);
        return before.epoch == type(uint24).max || most > type(uint96).max;
    }

    function assertSame(Channel memory left, Channel memory right) private pure {
        assert(left.locked == right.locked);
        assert(left.claimed == right.claimed);
        assert(left.exitAt == right.exitAt);
        assert(left.epoch == right.epoch);
    }

    function assertSame(Account memory left, Account memory right) private pure {
        assert(left.owner == right.owner);
        assert(left.free == right.free);
    }

    /// No sequence of payments of 96 bits gets there.
    function nearlyFull(uint256 credit) private pure returns (bool) {
        return credit > type(uint256).max - type(uint96).max;
    }

    function pack(Row memory row) private pure returns (bytes memory) {
        return abi.encodePacked(row.cap, row.claimed, row.epoch, row.voucher.r, row.voucher.vs);
    }

    function voucherHash(address identity, uint24 epoch, uint96 cap)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(Eip712.VOUCHER_TYPE, POD, identity, epoch, cap));
    }

    function settlementHash(address user, ReceiptRow memory row) private pure returns (bytes32) {
        bytes32 channel = keccak256(abi.encode(user, POD));
        return keccak256(
            abi.encode(
                Eip712.SETTLEMENT_TYPE, channel, row.epoch, row.seq, row.cumulative, row.receiptHash
            )
        );
    }

    function allocationHash(LockRow memory row) private pure returns (bytes32) {
        return keccak256(
            abi.encode(
                Eip712.ALLOCATION_TYPE, POD, row.total, row.termsHash, row.epoch, row.deadline
            )
        );
    }

    function batchHash(Row memory row) private pure returns (bytes32) {
        return keccak256(abi.encode(Eip712.BATCH_TYPE, POD, keccak256(pack(row))));
    }

    function closeHash(address user, uint24 epoch, uint96 cumulative)
        private
        pure
        returns (bytes32)
    {
        bytes32 channel = keccak256(abi.encode(user, POD));
        return keccak256(abi.encode(Eip712.CLOSE_TYPE, channel, epoch, cumulative));
    }

    function signerOf(bytes32 structHash, CompactSignature memory signature)
        private
        view
        returns (address)
    {
        bytes32 digest = Eip712.digest(escrow.DOMAIN_SEPARATOR(), structHash);
        return Eip712.recover(digest, signature.r, signature.vs);
    }
}
