// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Escrow} from "../src/Escrow.sol";
import {Eip712} from "../src/Eip712.sol";
import {CompactSignature, IEscrow, LockRow, ReceiptRow} from "../src/interfaces/IEscrow.sol";
import {PodId} from "../src/interfaces/IPodRegistry.sol";
import {TokenSignatures} from "./TokenSignatures.sol";
import {vm} from "./Vm.sol";

/// Each signature counts for one type, role, pod, channel, epoch, escrow and chain: anywhere else
/// it is some other address's, which nothing is known of.
contract EscrowReplayTest is TokenSignatures {
    uint256 private constant OTHER_CHAIN = 4242;

    function setUp() public {
        deploy();
        fund("user", 10 * UNIT);
        lockOne(lockRow("user", 5 * UNIT, 0));
    }

    // One type: what the user signed as a voucher, sent as everything else that users sign.

    function test_voucher_isNoAllocation() public {
        LockRow memory row = lockRow("user", 9 * UNIT, 0);
        row.signature = voucherSignature("user", "identity", podId, 9 * UNIT, 0);
        bytes32 before = state();
        vm.assertEq(lockOne(row), 0, "moved");
        vm.assertEq(state(), before, "state");
    }

    function test_allocation_isNoVoucher() public {
        CompactSignature memory signature = lockRow("user", UNIT, 0).signature;
        bytes memory row = abi.encodePacked(UNIT, UNIT, uint24(0), signature.r, signature.vs);
        bytes32 before = state();
        vm.assertEq(settleOne(row), 0, "paid");
        vm.assertEq(state(), before, "state");
    }

    function test_voucher_startsNoExit() public {
        CompactSignature memory voucher = voucherSignature("user", "identity", podId, UNIT, 0);
        address signer =
            recover(keccak256(abi.encode(Eip712.START_EXIT_TYPE, podId, uint24(0))), voucher);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOpen.selector, signer));
        escrow.startExitFor(podId, 0, voucher);
    }

    function test_voucher_closesNothing() public {
        CompactSignature memory voucher = voucherSignature("user", "identity", podId, UNIT, 0);
        CompactSignature memory identity = closeSignature("identity", USER, 0, UNIT);
        address signer = recover(closeHash(USER, 0), voucher);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongSigner.selector, USER, signer));
        escrow.closeFor(USER, podId, 0, UNIT, identity, voucher);
    }

    function test_voucher_withdrawsNothing() public {
        CompactSignature memory voucher = voucherSignature("user", "identity", podId, UNIT, 0);
        bytes32 structHash =
            keccak256(abi.encode(Eip712.WITHDRAW_TYPE, USER, UNIT, uint64(0), uint40(START)));
        address signer = recover(structHash, voucher);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongSigner.selector, USER, signer));
        escrow.withdrawFor(USER, UNIT, 0, START, voucher);
    }

    /// One receipt of the enclave does not make a batch, nor end a channel.
    function test_settlement_isNeitherABatchNorAClose() public {
        CompactSignature memory settlement =
        receiptRow("user", "identity", UNIT, UNIT, 0).settlement;
        bytes memory rows = settleRow("user", UNIT, UNIT, 0);
        address signer =
            recover(keccak256(abi.encode(Eip712.BATCH_TYPE, podId, keccak256(rows))), settlement);
        vm.expectRevert(notAccepted(podId, signer));
        escrow.settle(podId, rows, settlement);
        vm.expectRevert(notAccepted(podId, recover(closeHash(USER, 0), settlement)));
        vm.prank(OWNER);
        escrow.close(USER, podId, UNIT, settlement);
    }

    // One role: the user key is no identity key, the identity key no user key.

    function test_roles_areNotExchanged() public {
        bytes memory rows = settleRow("user", UNIT, UNIT, 0);
        CompactSignature memory byUser = batchSignature("user", podId, rows);
        vm.expectRevert(notAccepted(podId, USER));
        escrow.settle(podId, rows, byUser);
        byUser = closeSignature("user", USER, 0, UNIT);
        vm.expectRevert(notAccepted(podId, USER));
        vm.prank(OWNER);
        escrow.close(USER, podId, UNIT, byUser);
        vm.assertEq(settleOne(settleRow("identity", UNIT, UNIT, 0)), 0, "a voucher by the enclave");
    }

    // One pod and one channel.

    function test_receipt_isOfOnePodAndOneChannel() public {
        ReceiptRow memory row = receiptRow("user", "identity", UNIT, UNIT, 0);
        fundAndLock("other", 5 * UNIT);
        ReceiptRow memory mixed = receiptRow("other", "identity", UNIT, UNIT, 0);
        mixed.settlement = row.settlement;
        assertSkipped(mixed);
        podId = registerPod("another");
        lockOne(lockRow("user", 5 * UNIT, 0));
        assertSkipped(row);
    }

    function test_close_isOfOnePodAndOneChannel() public {
        CompactSignature memory signature = closeSignature("identity", USER, 0, UNIT);
        address other = fundAndLock("other", 5 * UNIT);
        vm.expectRevert(notAccepted(podId, recover(closeHash(other, 0), signature)));
        vm.prank(OWNER);
        escrow.close(other, podId, UNIT, signature);
        podId = registerPod("another");
        vm.expectRevert(notAccepted(podId, recover(closeHash(USER, 0), signature)));
        vm.prank(OWNER);
        escrow.close(USER, podId, UNIT, signature);
    }

    function test_exit_isOfOnePod() public {
        CompactSignature memory signature = exitSignature("user", 0);
        podId = registerPod("another");
        address signer =
            recover(keccak256(abi.encode(Eip712.START_EXIT_TYPE, podId, uint24(0))), signature);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOpen.selector, signer));
        escrow.startExitFor(podId, 0, signature);
    }

    // One epoch.

    function test_closeFor_countsOnce() public {
        CompactSignature memory identity = closeSignature("identity", USER, 0, UNIT);
        CompactSignature memory user = closeSignature("user", USER, 0, UNIT);
        escrow.closeFor(USER, podId, 0, UNIT, identity, user);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongEpoch.selector, 1, 0));
        escrow.closeFor(USER, podId, 0, UNIT, identity, user);
        address signer = recover(closeHash(USER, 1), user);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongSigner.selector, USER, signer));
        escrow.closeFor(USER, podId, 1, UNIT, identity, user);
    }

    /// After a close the vouchers, receipts and allocations of before are worth nothing, whatever
    /// is locked later.
    function test_close_killsTheSignaturesOfItsEpoch() public {
        bytes memory voucher = settleRow("user", 4 * UNIT, 4 * UNIT, 0);
        ReceiptRow memory receipt = receiptRow("user", "identity", 4 * UNIT, 4 * UNIT, 0);
        LockRow memory allocation = lockRow("user", 9 * UNIT, 0);
        CompactSignature memory identity = closeSignature("identity", USER, 0, UNIT);
        vm.prank(OWNER);
        escrow.close(USER, podId, UNIT, identity);
        lockOne(lockRow("user", 6 * UNIT, 1));
        vm.assertEq(settleOne(voucher), 0, "voucher");
        vm.assertEq(lockOne(allocation), 0, "allocation");
        assertSkipped(receipt);
    }

    // One escrow and one chain.

    function test_signatures_areOfOneEscrow() public {
        refuseAllAfter(true);
    }

    function test_signatures_areOfOneChain() public {
        refuseAllAfter(false);
    }

    /// All that can be sent with signatures, made before and sent after the escrow or the chain
    /// became another one.
    function refuseAllAfter(bool otherEscrow) private {
        CompactSignature memory exit = exitSignature("user", 0);
        CompactSignature memory byUser = closeSignature("user", USER, 0, UNIT);
        CompactSignature memory byIdentity = closeSignature("identity", USER, 0, UNIT);
        ReceiptRow memory receipt = receiptRow("user", "identity", UNIT, UNIT, 0);
        if (otherEscrow) {
            escrow = new Escrow(address(token), registry);
            fundAndLock("user", 5 * UNIT);
        } else {
            vm.chainId(OTHER_CHAIN);
        }
        assertSkipped(receipt);
        address signer =
            recover(keccak256(abi.encode(Eip712.START_EXIT_TYPE, podId, uint24(0))), exit);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOpen.selector, signer));
        escrow.startExitFor(podId, 0, exit);
        signer = recover(closeHash(USER, 0), byUser);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongSigner.selector, USER, signer));
        escrow.closeFor(USER, podId, 0, UNIT, byIdentity, byUser);
        vm.expectRevert(notAccepted(podId, recover(closeHash(USER, 0), byIdentity)));
        vm.prank(OWNER);
        escrow.close(USER, podId, UNIT, byIdentity);
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

    function notAccepted(PodId pod, address signer) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IEscrow.IdentityNotAccepted.selector, pod, signer, 0);
    }

    function closeHash(address user, uint24 epoch) private view returns (bytes32) {
        return keccak256(abi.encode(Eip712.CLOSE_TYPE, channelOf(user), epoch, UNIT));
    }

    function state() private view returns (bytes32) {
        return keccak256(
            abi.encode(escrow.account(USER), escrow.channel(USER, podId), escrow.credit(podId))
        );
    }
}
