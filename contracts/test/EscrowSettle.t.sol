// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "../src/Eip712.sol";
import {Escrow} from "../src/Escrow.sol";
import {Channel, CompactSignature, IEscrow, ReceiptRow} from "../src/interfaces/IEscrow.sol";
import {PodId} from "../src/interfaces/IPodRegistry.sol";
import {Fixture} from "./Fixture.sol";
import {KeyList} from "./KeyList.sol";
import {bound, vm} from "./Vm.sol";

/// Checklist steps 7 and 8: claims in packed rows, and with their own settlement signatures.
contract EscrowSettleTest is Fixture {
    uint256 private constant ROW = 91;

    function setUp() public {
        deploy();
        fundAndLock("user", 5 * UNIT);
    }

    function test_settle_paysTheClaim() public {
        bytes memory rows = settleRow("user", 2 * UNIT, UNIT, 0);
        CompactSignature memory signature = batchSignature("identity", podId, rows);
        vm.expectEmit(address(escrow));
        emit IEscrow.Settled(podId, UNIT, 1, hex"00");
        (uint256 paid, bytes memory skipped) = escrow.settle(podId, rows, signature);
        vm.assertEq(paid, UNIT, "paid");
        vm.assertEq(skipped, hex"00", "skipped");
        assertState(UNIT, UNIT);
        vm.assertEq(settleOne(settleRow("user", 3 * UNIT, 3 * UNIT, 0)), 2 * UNIT, "more");
        assertState(3 * UNIT, 3 * UNIT);
    }

    function test_settle_paysAtMostTheCap() public {
        vm.assertEq(settleOne(settleRow("user", UNIT, 2 * UNIT, 0)), UNIT, "paid");
    }

    function test_settle_paysAtMostWhatIsLocked() public {
        vm.assertEq(settleOne(settleRow("user", 9 * UNIT, 8 * UNIT, 0)), 5 * UNIT, "paid");
        assertState(5 * UNIT, 5 * UNIT);
    }

    function test_settle_twiceMovesNothing() public {
        bytes memory rows = settleRow("user", 2 * UNIT, UNIT, 0);
        settleOne(rows);
        assertSkipped(rows);
        assertState(UNIT, UNIT);
    }

    function test_settle_skipsALowerClaim() public {
        settleOne(settleRow("user", 2 * UNIT, UNIT, 0));
        assertSkipped(settleRow("user", 2 * UNIT, UNIT - 1, 0));
        assertSkipped(settleRow("user", UNIT - 1, 2 * UNIT, 0));
        assertSkipped(settleRow("user", 0, 0, 0));
    }

    function test_settle_skipsAnotherEpoch() public {
        assertSkipped(settleRow("user", UNIT, UNIT, 1));
        assertSkipped(settleRow("user", UNIT, UNIT, type(uint24).max));
    }

    function test_settle_skipsAStrangersVoucher() public {
        assertSkipped(settleRow("stranger", UNIT, UNIT, 0));
        vm.assertEq(escrow.channel(addressOf("stranger"), podId).claimed, 0, "stranger");
    }

    function test_settle_skipsMalformedVouchers() public {
        bytes32 highS = bytes32(type(uint256).max >> 1);
        assertSkipped(abi.encodePacked(UNIT, UNIT, uint24(0), bytes32(0), bytes32(uint256(1))));
        assertSkipped(abi.encodePacked(UNIT, UNIT, uint24(0), bytes32(uint256(1)), highS));
    }

    /// Of two signatures that recover to somebody with a full channel, only the one with a low s
    /// pays.
    function test_settle_takesOnlyALowS() public {
        bytes32 halfOrder = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;
        for (uint256 i; i < 2; ++i) {
            bytes32 s = bytes32(uint256(halfOrder) + i);
            bytes32 structHash =
                keccak256(abi.encode(Eip712.VOUCHER_TYPE, podId, IDENTITY, uint24(0), UNIT));
            bytes32 digest = Eip712.digest(escrow.DOMAIN_SEPARATOR(), structHash);
            address signer = ecrecover(digest, 27, bytes32(uint256(1)), s);
            vm.assertTrue(signer != address(0), "a point of the curve");
            storeLocked(signer, UNIT);
            bytes memory rows = abi.encodePacked(UNIT, UNIT, uint24(0), bytes32(uint256(1)), s);
            vm.assertEq(settleOne(rows), i == 0 ? UNIT : 0, "paid");
        }
    }

    /// Even if something were locked under zero, a signature that recovers to nobody would not draw
    /// it.
    function test_settle_neverTakesZeroForAUser() public {
        storeLocked(address(0), UNIT);
        CompactSignature memory bad = CompactSignature(0, bytes32(uint256(1)));
        assertSkipped(abi.encodePacked(UNIT, UNIT, uint24(0), bad.r, bad.vs));
        ReceiptRow memory row = receiptRow("user", "identity", UNIT, UNIT, 0);
        row.voucher = bad;
        bytes32 channel = keccak256(abi.encode(address(0), podId));
        row.settlement = sign(
            "identity",
            keccak256(
                abi.encode(
                    Eip712.SETTLEMENT_TYPE, channel, uint24(0), row.seq, UNIT, row.receiptHash
                )
            )
        );
        assertSkipped(row);
    }

    /// Nobody has the key of such a signer, so the test writes the channel's slot by itself.
    function storeLocked(address user, uint96 locked) private {
        bytes32 ofPod = keccak256(abi.encode(podId, uint256(1)));
        vm.store(address(escrow), keccak256(abi.encode(user, ofPod)), bytes32(uint256(locked)));
        vm.assertEq(escrow.channel(user, podId).locked, locked, "the slot of the channel");
    }

    /// The operator attests an enclave of its own for its pod: it can claim none of what users gave
    /// to the other one, alone or among rows that are its own.
    function test_settle_skipsAnotherIdentitysVoucher() public {
        fundAndLock("other", 5 * UNIT);
        attest(podId, "another");
        bytes memory rows = settleRow("user", 5 * UNIT, 5 * UNIT, 0);
        assertSkipped(rows, "another");
        bytes memory mixed =
            bytes.concat(settleRow("other", "another", 2 * UNIT, UNIT, 0), rows, rows);
        (uint256 paid, bytes memory skipped) =
            escrow.settle(podId, mixed, batchSignature("another", podId, mixed));
        vm.assertEq(paid, UNIT, "its own row");
        vm.assertEq(skipped, hex"06", "the others");
        vm.assertEq(escrow.channel(USER, podId).claimed, 0, "user");
        assertSkipped(settleRow("user", "another", 5 * UNIT, 5 * UNIT, 0));
        vm.assertEq(settleOne(rows), 5 * UNIT, "by whom it names");
    }

    function test_settle_skipsAnotherPodsVoucher() public {
        bytes memory rows = settleRow("user", UNIT, UNIT, 0);
        podId = registerPod("another");
        fundAndLock("user", 5 * UNIT);
        assertSkipped(rows);
    }

    function test_settle_skipsAnotherEscrowsVoucher() public {
        bytes memory rows = settleRow("user", UNIT, UNIT, 0);
        escrow = new Escrow(address(token), registry);
        fundAndLock("user", 5 * UNIT);
        assertSkipped(rows);
    }

    function test_settle_skipsAnotherChainsVoucher() public {
        bytes memory rows = settleRow("user", UNIT, UNIT, 0);
        vm.chainId(4242);
        assertSkipped(rows);
    }

    /// One bit of the voucher's part of a row: another signer, so nothing is locked under it.
    function testFuzz_settle_skipsAChangedVoucher(uint256 bit) public {
        bytes memory rows = settleRow("user", 2 * UNIT, UNIT, 0);
        bit = bound(bit, 0, (12 + 3 + 64) * 8 - 1);
        uint256 index = bit / 8 < 12 ? bit / 8 : bit / 8 + 12;
        rows[index] ^= bytes1(uint8(1)) << (bit % 8);
        assertSkipped(rows);
    }

    function test_settle_refusesPartsOfRows() public {
        uint256[4] memory lengths = [uint256(0), 90, 92, 181];
        for (uint256 i; i < lengths.length; ++i) {
            bytes memory rows = new bytes(lengths[i]);
            CompactSignature memory signature = batchSignature("identity", podId, rows);
            vm.expectRevert(abi.encodeWithSelector(IEscrow.RowsLength.selector, lengths[i], ROW));
            escrow.settle(podId, rows, signature);
        }
    }

    function test_settle_refusesUnknownIdentities() public {
        bytes memory rows = settleRow("user", UNIT, UNIT, 0);
        refuseBatch(rows, batchSignature("stranger", podId, rows), addressOf("stranger"), 0);
        refuseBatch(rows, CompactSignature(0, bytes32(uint256(1))), address(0), 0);
        bytes32 highS = bytes32(type(uint256).max >> 1);
        refuseBatch(rows, CompactSignature(bytes32(uint256(1)), highS), address(0), 0);
    }

    function test_settle_refusesTheBatchOfOtherRowsOrPods() public {
        bytes memory rows = settleRow("user", UNIT, UNIT, 0);
        CompactSignature memory signature = batchSignature("identity", podId, rows);
        rows[20] ^= 0x01;
        expectWrongBatch(podId, rows, signature);
        rows[20] ^= 0x01;
        PodId other = registerPod("another");
        expectWrongBatch(other, rows, signature);
        vm.chainId(4242);
        expectWrongBatch(podId, rows, signature);
    }

    function test_settle_acceptsAnIdentityToTheEndOfItsGrace() public {
        bytes memory rows = settleRow("user", UNIT, UNIT, 0);
        CompactSignature memory signature = batchSignature("identity", podId, rows);
        vm.warp(START + 8 days + 1);
        refuseBatch(rows, signature, IDENTITY, START + 8 days);
        vm.warp(START + 8 days);
        vm.assertEq(settleOne(rows), UNIT, "in the last second");
    }

    function test_settle_acceptsAReplacedIdentityToTheEndOfItsGrace() public {
        attest(podId, "next");
        bytes memory rows = settleRow("user", UNIT, UNIT, 0);
        CompactSignature memory signature = batchSignature("identity", podId, rows);
        vm.warp(START + 7 days + 1);
        refuseBatch(rows, signature, IDENTITY, START + 7 days);
        vm.warp(START + 7 days);
        vm.assertEq(settleOne(rows), UNIT, "in the last second");
    }

    function test_settle_worksWhileAnExitRunsAndForARetiredPod() public {
        vm.prank(OWNER);
        escrow.startExit(USER, podId);
        vm.prank(OPERATOR);
        registry.retire(podId);
        vm.assertEq(settleOne(settleRow("user", UNIT, UNIT, 0)), UNIT, "paid");
        vm.assertEq(escrow.channel(USER, podId).exitAt, START + 48 hours, "exit goes on");
    }

    function test_settle_ofABadRowChangesNoOther() public {
        bytes memory rows;
        for (uint256 i; i < 10; ++i) {
            string memory label = string.concat("user", vm.toString(i));
            if (i != 3 && i != 5 && i != 8) fundAndLock(label, UNIT);
            rows = bytes.concat(rows, settleRow(label, UNIT, UNIT / 2, 0));
        }
        (uint256 paid, bytes memory skipped) =
            escrow.settle(podId, rows, batchSignature("identity", podId, rows));
        vm.assertEq(paid, 7 * UNIT / 2, "paid");
        vm.assertEq(skipped, hex"2801", "bits 3, 5 and 8");
    }

    function test_settle_paysAUserOnceHoweverOftenInABatch() public {
        bytes memory row = settleRow("user", 2 * UNIT, UNIT, 0);
        bytes memory more = settleRow("user", 3 * UNIT, 2 * UNIT, 0);
        vm.assertEq(settleOne(bytes.concat(row, more, row, more)), 2 * UNIT, "paid");
    }

    /// The same claims in any order, and again, end in the same state.
    function testFuzz_settle_orderDoesNotMatter(uint96[6] memory amounts, uint256 shift) public {
        fundAndLock("other", 3 * UNIT);
        bytes[] memory rows = new bytes[](6);
        uint256 most;
        uint256 mostOther;
        for (uint256 i; i < 6; ++i) {
            uint96 amount = uint96(bound(amounts[i], 0, 6 * UNIT));
            rows[i] = settleRow(i % 2 == 0 ? "user" : "other", amount, amount, 0);
            if (i % 2 == 0 && amount > most) most = amount;
            if (i % 2 == 1 && amount > mostOther) mostOther = amount;
        }
        for (uint256 i; i < 12; ++i) {
            settleOne(rows[(i + shift % 6) % 6]);
        }
        most = most > 5 * UNIT ? 5 * UNIT : most;
        mostOther = mostOther > 3 * UNIT ? 3 * UNIT : mostOther;
        vm.assertEq(escrow.channel(USER, podId).claimed, most, "user");
        vm.assertEq(escrow.channel(addressOf("other"), podId).claimed, mostOther, "other");
        vm.assertEq(escrow.credit(podId), most + mostOther, "credit");
    }

    function testFuzz_settle_paysTheLeast(uint96 cap, uint96 claimed, uint96 already) public {
        already = uint96(bound(already, 0, 5 * UNIT));
        settleOne(settleRow("user", already, already, 0));
        uint256 least = cap < claimed ? cap : claimed;
        if (least > 5 * UNIT) least = 5 * UNIT;
        uint256 expected = least > already ? least - already : 0;
        vm.assertEq(settleOne(settleRow("user", cap, claimed, 0)), expected, "paid");
        assertState(already + expected, already + expected);
        Channel memory channel = escrow.channel(USER, podId);
        vm.assertEq(channel.locked, 5 * UNIT, "locked");
        vm.assertEq(channel.epoch, 0, "epoch");
        vm.assertEq(channel.exitAt, 0, "exitAt");
    }

    function test_settleReceipts_paysTheClaim() public {
        ReceiptRow[] memory rows = new ReceiptRow[](1);
        rows[0] = receiptRow("user", "identity", 2 * UNIT, UNIT, 0);
        vm.expectEmit(address(escrow));
        emit IEscrow.Settled(podId, UNIT, 1, hex"00");
        (uint256 paid,) = escrow.settleReceipts(podId, rows);
        vm.assertEq(paid, UNIT, "paid");
        assertState(UNIT, UNIT);
        assertSkipped(rows[0]);
    }

    function test_settleReceipts_paysAtMostCapAndLocked() public {
        ReceiptRow[] memory rows = new ReceiptRow[](2);
        rows[0] = receiptRow("user", "identity", UNIT, 3 * UNIT, 0);
        rows[1] = receiptRow("user", "identity", 9 * UNIT, 9 * UNIT, 0);
        (uint256 paid,) = escrow.settleReceipts(podId, rows);
        vm.assertEq(paid, 5 * UNIT, "paid");
    }

    function test_settleReceipts_skipsEachBadPart() public {
        attest(podId, "another");
        for (uint256 i; i < 12; ++i) {
            ReceiptRow memory row = receiptRow("user", "identity", 2 * UNIT, UNIT, 0);
            if (i == 0) row.cap += 1;
            if (i == 1) row.cumulative += 1;
            if (i == 2) row.epoch += 1;
            if (i == 3) row.seq += 1;
            if (i == 4) row.receiptHash ^= bytes32(uint256(1));
            if (i == 5) row.voucher.vs ^= bytes32(uint256(1));
            if (i == 6) row.settlement.vs ^= bytes32(uint256(1));
            if (i == 7) row.voucher = CompactSignature(0, bytes32(uint256(1)));
            if (i == 8) row.settlement = CompactSignature(0, bytes32(uint256(1)));
            if (i == 9) row.identity = addressOf("another");
            if (i == 10) row.identity = address(uint160(IDENTITY) ^ 1);
            if (i == 11) row.identity = address(0);
            assertSkipped(row);
        }
        assertSkipped(receiptRow("user", "stranger", 2 * UNIT, UNIT, 0));
        assertSkipped(receiptRow("stranger", "identity", 2 * UNIT, UNIT, 0));
        assertSkipped(receiptRow("user", "identity", 2 * UNIT, UNIT, 1));
    }

    /// Both keys are accepted for the pod; voucher, row and settlement must all be of the same one.
    function test_settleReceipts_skipsAnotherIdentitysVoucher() public {
        attest(podId, "another");
        ReceiptRow memory own = receiptRow("user", "identity", 5 * UNIT, 5 * UNIT, 0);
        ReceiptRow memory foreign = receiptRow("user", "another", 5 * UNIT, 5 * UNIT, 0);
        for (uint256 i = 1; i < 7; ++i) {
            ReceiptRow memory row = receiptRow("user", "identity", 5 * UNIT, 5 * UNIT, 0);
            if (i & 1 != 0) row.identity = foreign.identity;
            if (i & 2 != 0) row.voucher = foreign.voucher;
            if (i & 4 != 0) row.settlement = foreign.settlement;
            assertSkipped(row);
        }
        ReceiptRow[] memory rows = new ReceiptRow[](1);
        rows[0] = own;
        (uint256 paid,) = escrow.settleReceipts(podId, rows);
        vm.assertEq(paid, 5 * UNIT, "by whom it names");
    }

    /// A voucher for nobody and a settlement that recovers to nobody do not fit each other, even if
    /// the registry said that nobody's key is good.
    function test_settleReceipts_neverTakesZeroForAnIdentity() public {
        KeyList keys = new KeyList();
        escrow = new Escrow(address(token), keys.asRegistry());
        fundAndLock("user", 5 * UNIT);
        keys.accept(podId, address(0), type(uint256).max);
        keys.accept(podId, IDENTITY, type(uint256).max);
        ReceiptRow memory row = receiptRow("user", "identity", UNIT, UNIT, 0);
        row.identity = address(0);
        row.voucher = sign(
            "user", keccak256(abi.encode(Eip712.VOUCHER_TYPE, podId, address(0), uint24(0), UNIT))
        );
        assertSkipped(row);
        row.settlement = CompactSignature(0, bytes32(uint256(1)));
        assertSkipped(row);
        row = receiptRow("user", "identity", UNIT, UNIT, 0);
        ReceiptRow[] memory rows = new ReceiptRow[](1);
        rows[0] = row;
        (uint256 paid,) = escrow.settleReceipts(podId, rows);
        vm.assertEq(paid, UNIT, "else it would be paid");
    }

    /// Words that are no address, as a sender can encode them: the whole call is refused.
    function test_settleReceipts_refusesAnIdentityThatIsNoAddress() public {
        ReceiptRow[] memory rows = new ReceiptRow[](1);
        rows[0] = receiptRow("user", "identity", UNIT, UNIT, 0);
        bytes memory data = abi.encodeCall(escrow.settleReceipts, (podId, rows));
        data[4 + 3 * 32] = 0x01;
        (bool good,) = address(escrow).call(data);
        vm.assertTrue(!good, "not refused");
        assertState(0, 0);
        data[4 + 3 * 32] = 0x00;
        (good,) = address(escrow).call(data);
        vm.assertTrue(good, "the same without it");
        assertState(UNIT, UNIT);
    }

    /// The channel goes on under the enclave's next key, which gets vouchers of its own. Both keys'
    /// claims count in the same cumulative amount, so nothing is paid twice.
    function test_settlements_afterARestartEachIdentityClaimsItsOwn() public {
        ReceiptRow[] memory before = new ReceiptRow[](1);
        before[0] = receiptRow("user", "identity", 2 * UNIT, UNIT, 0);
        attest(podId, "next");
        bytes memory later = settleRow("user", "next", 4 * UNIT, 3 * UNIT, 0);
        assertSkipped(later);
        assertSkipped(settleRow("user", 2 * UNIT, UNIT, 0), "next");
        (uint256 paid,) = escrow.settleReceipts(podId, before);
        vm.assertEq(paid, UNIT, "of before the restart");
        (paid,) = escrow.settle(podId, later, batchSignature("next", podId, later));
        vm.assertEq(paid, 2 * UNIT, "of after it");
        assertSkipped(before[0]);
        assertState(3 * UNIT, 3 * UNIT);
    }

    function test_settleReceipts_acceptsAReplacedIdentityToTheEndOfItsGrace() public {
        attest(podId, "next");
        ReceiptRow[] memory rows = new ReceiptRow[](1);
        rows[0] = receiptRow("user", "identity", 2 * UNIT, UNIT, 0);
        vm.warp(START + 7 days + 1);
        assertSkipped(rows[0]);
        vm.warp(START + 7 days);
        (uint256 paid,) = escrow.settleReceipts(podId, rows);
        vm.assertEq(paid, UNIT, "paid");
    }

    function test_settleReceipts_ofABadRowChangesNoOther() public {
        fundAndLock("other", UNIT);
        ReceiptRow[] memory rows = new ReceiptRow[](3);
        rows[0] = receiptRow("user", "identity", UNIT, UNIT, 0);
        rows[1] = receiptRow("stranger", "identity", UNIT, UNIT, 0);
        rows[2] = receiptRow("other", "identity", UNIT, UNIT, 0);
        (uint256 paid, bytes memory skipped) = escrow.settleReceipts(podId, rows);
        vm.assertEq(paid, 2 * UNIT, "paid");
        vm.assertEq(skipped, hex"02", "bit 1");
    }

    function test_settleReceipts_refusesNoRows() public {
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NoRows.selector));
        escrow.settleReceipts(podId, new ReceiptRow[](0));
    }

    function test_channels_areInTheOrderAsked() public {
        fundAndLock("other", 2 * UNIT);
        address[] memory users = new address[](3);
        (users[0], users[1], users[2]) = (addressOf("other"), address(1), USER);
        Channel[] memory channels = escrow.channels(podId, users);
        vm.assertEq(channels.length, 3, "length");
        vm.assertEq(channels[0].locked, 2 * UNIT, "other");
        vm.assertEq(channels[1].locked, 0, "nobody");
        vm.assertEq(channels[2].locked, 5 * UNIT, "user");
    }

    function refuseBatch(
        bytes memory rows,
        CompactSignature memory signature,
        address identity,
        uint256 goodUntil
    ) private {
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.IdentityNotAccepted.selector, podId, identity, goodUntil)
        );
        escrow.settle(podId, rows, signature);
    }

    /// A signature over something else recovers to some other address, which is no identity.
    function expectWrongBatch(PodId pod, bytes memory rows, CompactSignature memory signature)
        private
    {
        bytes32 structHash = keccak256(abi.encode(Eip712.BATCH_TYPE, pod, keccak256(rows)));
        bytes32 digest = Eip712.digest(escrow.DOMAIN_SEPARATOR(), structHash);
        address signer = Eip712.recover(digest, signature.r, signature.vs);
        vm.assertTrue(signer != IDENTITY, "not what was signed");
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.IdentityNotAccepted.selector, pod, signer, 0)
        );
        escrow.settle(pod, rows, signature);
    }

    function state() private view returns (bytes32) {
        return keccak256(
            abi.encode(escrow.account(USER), escrow.channel(USER, podId), escrow.credit(podId))
        );
    }

    function assertSkipped(bytes memory rows) private {
        assertSkipped(rows, "identity");
    }

    /// In a batch that `identity` signed.
    function assertSkipped(bytes memory rows, string memory identity) private {
        bytes32 before = state();
        (uint256 paid, bytes memory skipped) =
            escrow.settle(podId, rows, batchSignature(identity, podId, rows));
        vm.assertEq(paid, 0, "paid");
        vm.assertEq(skipped, hex"01", "skipped");
        vm.assertEq(state(), before, "state");
    }

    function assertSkipped(ReceiptRow memory row) private {
        bytes32 before = state();
        ReceiptRow[] memory rows = new ReceiptRow[](1);
        rows[0] = row;
        (uint256 paid, bytes memory skipped) = escrow.settleReceipts(podId, rows);
        vm.assertEq(paid, 0, "paid");
        vm.assertEq(skipped, hex"01", "skipped");
        vm.assertEq(state(), before, "state");
    }

    function assertState(uint256 claimed, uint256 credit) private view {
        vm.assertEq(escrow.channel(USER, podId).claimed, claimed, "claimed");
        vm.assertEq(escrow.credit(podId), credit, "credit");
    }
}
