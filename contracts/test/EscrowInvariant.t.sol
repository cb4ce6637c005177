// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Channel, CompactSignature, LockRow, ReceiptRow} from "../src/interfaces/IEscrow.sol";
import {IdentityKey, PodId} from "../src/interfaces/IPodRegistry.sol";
import {Fixture} from "./Fixture.sol";
import {bound, vm} from "./Vm.sol";

/// Users, pods and strangers doing anything they are able to, in any order. Nothing here may
/// revert.
contract Handler is Fixture {
    uint256 public constant USERS = 4;
    uint256 public constant PODS = 2;

    struct Saved {
        uint256 pod;
        uint256 user;
        uint96 cap;
        uint96 claimed;
        uint24 epoch;
    }

    PodId[PODS] private pods;
    Saved[] private saved;
    LockRow[] private savedLocks;
    mapping(uint256 pod => mapping(uint256 user => uint96)) private claimedBefore;

    uint256 public deposited;
    uint256 public withdrawn;
    uint256 public donated;
    /// How often each kind of step did what it is for, so that a run can be seen not to be empty.
    mapping(string step => uint256) public done;

    constructor() {
        deploy();
        pods[0] = podId;
        pods[1] = registerPod("another");
        for (uint256 i; i < USERS; ++i) {
            depositFor(i, 100 * UNIT);
        }
    }

    function depositFor(uint256 user, uint256 amount) public {
        amount = bound(amount, 1, 1000 * UNIT);
        fund(labelOf(user % USERS), amount);
        deposited += amount;
    }

    function donate(uint256 amount) external {
        amount = bound(amount, 1, UNIT);
        token.mint(address(escrow), amount);
        donated += amount;
    }

    function withdraw(uint256 user, uint256 amount) external {
        address account = addressOf(labelOf(user % USERS));
        amount = bound(amount, 0, escrow.account(account).free);
        vm.prank(OWNER);
        escrow.withdraw(account, amount);
        withdrawn += amount;
        if (amount != 0) ++done["withdraw"];
    }

    function lock(uint256 pod, uint256 user, uint96 total, bool oldEpoch) external {
        podId = pods[pod % PODS];
        address account = addressOf(labelOf(user % USERS));
        Channel memory channel = escrow.channel(account, podId);
        total = uint96(bound(total, 0, uint256(channel.locked) + escrow.account(account).free + 1));
        uint24 epoch = oldEpoch && channel.epoch > 0 ? channel.epoch - 1 : channel.epoch;
        LockRow memory row = lockRow(labelOf(user % USERS), total, epoch);
        uint256 moved = lockOne(row);
        if (moved != 0) ++done["lock"];
        if (epoch != channel.epoch || channel.exitAt != 0) {
            vm.assertEq(moved, 0, "locked under an old epoch or during an exit");
        }
        if (pod % PODS == 0) savedLocks.push(row);
    }

    function replayLock(uint256 index) external {
        if (savedLocks.length == 0) return;
        podId = pods[0];
        LockRow memory row = savedLocks[index % savedLocks.length];
        lockOne(row);
        vm.assertEq(lockOne(row), 0, "the same lock twice");
    }

    function settle(uint256 pod, uint256[3] memory users, uint96[3] memory caps, uint96 claimed)
        external
    {
        pod = pod % PODS;
        renewKey(pod);
        bytes memory rows;
        for (uint256 i; i < 3; ++i) {
            // One user in five is a stranger, whose row is skipped.
            uint256 user = users[i] % (USERS + 1);
            Channel memory channel = escrow.channel(addressOf(labelOf(user)), podId);
            uint96 cap = uint96(bound(caps[i], 0, uint256(channel.locked) * 2 + 2));
            uint96 claim = uint96(bound(claimed, 0, uint256(channel.locked) * 2 + 2));
            rows = bytes.concat(rows, settleRow(labelOf(user), cap, claim, channel.epoch));
            saved.push(Saved(pod, user, cap, claim, channel.epoch));
        }
        if (settleOne(rows) != 0) ++done["settle"];
        vm.assertEq(settleOne(rows), 0, "the same batch twice");
    }

    /// An old voucher: it moves something only if its epoch is the current one and its claim is
    /// above.
    function replayVoucher(uint256 index, bool asReceipt) external {
        if (saved.length == 0) return;
        Saved memory old = saved[index % saved.length];
        renewKey(old.pod);
        string memory label = labelOf(old.user);
        Channel memory before = escrow.channel(addressOf(label), podId);
        uint256 paid = asReceipt
            ? settleReceipt(label, old)
            : settleOne(settleRow(label, old.cap, old.claimed, old.epoch));
        uint256 least = old.cap < old.claimed ? old.cap : old.claimed;
        if (least > before.locked) least = before.locked;
        bool moves = old.epoch == before.epoch && least > before.claimed;
        vm.assertEq(paid, moves ? least - before.claimed : 0, "replayed");
        if (old.epoch != before.epoch) ++done["dead voucher"];
    }

    function settleReceipt(string memory label, Saved memory old) private returns (uint256 paid) {
        ReceiptRow[] memory rows = new ReceiptRow[](1);
        rows[0] = receiptRow(label, "identity", old.cap, old.claimed, old.epoch);
        (paid,) = escrow.settleReceipts(podId, rows);
    }

    function startExit(uint256 pod, uint256 user) external {
        podId = pods[pod % PODS];
        string memory label = labelOf(user % USERS);
        Channel memory channel = escrow.channel(addressOf(label), podId);
        if (channel.exitAt != 0) return;
        escrow.startExitFor(podId, channel.epoch, exitSignature(label, channel.epoch));
        ++done["startExit"];
    }

    function finishExit(uint256 pod, uint256 user) external {
        podId = pods[pod % PODS];
        address account = addressOf(labelOf(user % USERS));
        Channel memory before = escrow.channel(account, podId);
        if (before.exitAt == 0 || block.timestamp < before.exitAt) return;
        uint256 free = escrow.account(account).free;
        escrow.finishExit(account, podId);
        uint256 refund = before.locked - before.claimed;
        vm.assertEq(escrow.account(account).free, free + refund, "everything unclaimed");
        vm.assertEq(escrow.channel(account, podId).epoch, before.epoch + 1, "epoch");
        ++done["finishExit"];
    }

    function close(uint256 pod, uint256 user, uint96 cumulative) external {
        renewKey(pod % PODS);
        address account = addressOf(labelOf(user % USERS));
        Channel memory before = escrow.channel(account, podId);
        cumulative = uint96(bound(cumulative, 0, uint256(before.locked) + 1));
        CompactSignature memory signature =
            closeSignature("identity", account, before.epoch, cumulative);
        vm.prank(OWNER);
        escrow.close(account, podId, cumulative, signature);
        vm.assertEq(escrow.channel(account, podId).epoch, before.epoch + 1, "epoch");
        ++done["close"];
    }

    function collect(uint256 pod) external {
        podId = pods[pod % PODS];
        if (escrow.credit(podId) == 0) return;
        escrow.collect(podId);
        ++done["collect"];
    }

    function wait(uint256 duration) external {
        vm.warp(block.timestamp + bound(duration, 1 hours, 60 hours));
    }

    /// Sum of what the contract owes: free parts, unclaimed locks, credits.
    function owed() external view returns (uint256 sum) {
        for (uint256 i; i < USERS; ++i) {
            address user = addressOf(labelOf(i));
            sum += escrow.account(user).free;
            for (uint256 j; j < PODS; ++j) {
                Channel memory channel = escrow.channel(user, pods[j]);
                sum += channel.locked - channel.claimed;
            }
        }
        for (uint256 j; j < PODS; ++j) {
            sum += escrow.credit(pods[j]);
        }
    }

    function held() external view returns (uint256) {
        return token.balanceOf(address(escrow));
    }

    function collected() external view returns (uint256) {
        return token.balanceOf(PAYOUT);
    }

    /// Fails when a channel's claim went down or above its lock since the last call.
    function checkClaims() external returns (uint256 sum) {
        for (uint256 j; j < PODS; ++j) {
            for (uint256 i; i < USERS; ++i) {
                Channel memory channel = escrow.channel(addressOf(labelOf(i)), pods[j]);
                vm.assertGe(channel.claimed, claimedBefore[j][i], "claimed went down");
                vm.assertLe(channel.claimed, channel.locked, "claimed above locked");
                claimedBefore[j][i] = channel.claimed;
                sum += channel.claimed;
            }
            sum -= escrow.credit(pods[j]);
        }
    }

    function labelOf(uint256 user) private pure returns (string memory) {
        return string.concat("user", vm.toString(user));
    }

    function renewKey(uint256 pod) private {
        podId = pods[pod];
        if (registry.pod(podId).key.expiry > block.timestamp) return;
        IdentityKey memory next = key("identity");
        vm.prank(OPERATOR);
        registry.setKey(podId, next);
    }
}

contract EscrowInvariantTest {
    Handler private handler;

    function setUp() public {
        handler = new Handler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// Nothing is made or lost: what is held is what is owed, and what went in is what is inside or
    /// out.
    function invariant_conservation() public view {
        uint256 held = handler.held();
        vm.assertEq(held, handler.owed() + handler.donated(), "held = owed");
        uint256 out = handler.withdrawn() + handler.collected();
        vm.assertEq(handler.deposited() + handler.donated(), held + out, "in = held + out");
    }

    /// Claims never go down nor above the lock, and all of them reached the pods.
    function invariant_claims() public {
        vm.assertEq(handler.checkClaims(), handler.collected(), "claimed = credit + collected");
    }

    /// Every step of the handler does what it is for at least once in this story.
    function test_handlerReachesEveryStep() public {
        uint256[3] memory users = [uint256(0), 1, 4];
        uint96[3] memory caps = [uint96(50e6), 60e6, 70e6];
        handler.lock(0, 0, 60e6, false);
        handler.lock(0, 1, 60e6, false);
        handler.settle(0, users, caps, 40e6);
        handler.startExit(0, 0);
        handler.wait(60 hours);
        handler.finishExit(0, 0);
        handler.replayVoucher(0, false);
        handler.replayVoucher(0, true);
        handler.replayLock(0);
        handler.close(0, 1, 50e6);
        handler.collect(0);
        handler.withdraw(0, 60e6);
        handler.donate(1);
        string[8] memory steps = [
            "lock",
            "settle",
            "startExit",
            "finishExit",
            "dead voucher",
            "close",
            "collect",
            "withdraw"
        ];
        for (uint256 i; i < steps.length; ++i) {
            vm.assertGe(handler.done(steps[i]), 1, steps[i]);
        }
        invariant_conservation();
        invariant_claims();
    }
}
