// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "../src/Eip712.sol";
import {Escrow} from "../src/Escrow.sol";
import {TestToken} from "../src/TestToken.sol";
import {
    Channel,
    CompactSignature,
    IEscrow,
    LockRow,
    ReceiptRow
} from "../src/interfaces/IEscrow.sol";
import {PodId} from "../src/interfaces/IPodRegistry.sol";
import {Fixture} from "./Fixture.sol";
import {KeyList} from "./KeyList.sol";
import {bound, vm} from "./Vm.sol";

/// Users, pods and strangers doing anything they are able to, in any order.
///
/// Nothing here may revert. What the escrow must refuse is tried with `mustRefuse`, which compares
/// the whole revert data. Beside the escrow the handler keeps what was signed and what went in and
/// out, and `check…` compares.
contract EscrowHandler is Fixture {
    uint256 public constant USERS = 3;
    uint256 public constant PODS = 2;
    uint256 private constant STRANGER = USERS;
    uint256 private constant BATCH = 3;

    /// Highest amounts that were signed for one epoch of a channel, and where the epoch began.
    struct Signed {
        uint96 cap;
        uint96 claim;
        uint96 total;
        uint96 claimedBefore;
    }

    struct Replay {
        uint256 pod;
        uint256 user;
        uint24 epoch;
        bytes data;
    }

    KeyList private keys;
    PodId[PODS] private pods;
    address[USERS + 1] private users;
    Replay[] private replays;
    mapping(uint256 pod => mapping(uint256 user => mapping(uint24 epoch => Signed))) private signed;
    mapping(uint256 pod => mapping(uint256 user => Channel)) private last;

    uint256 private deposited;
    uint256 private donated;
    /// How often each kind of step did what it is for, so that a run can be seen not to be empty.
    mapping(string step => uint256) public done;

    constructor() {
        vm.warp(START);
        keys = new KeyList();
        token = new TestToken();
        escrow = new Escrow(address(token), keys.asRegistry());
        for (uint256 i; i <= USERS; ++i) {
            users[i] = addressOf(labelOf(i));
        }
        for (uint256 i; i < PODS; ++i) {
            pods[i] = PodId.wrap(bytes32(i + 1));
            keys.accept(pods[i], IDENTITY, START + 8 days);
            keys.setPayout(pods[i], PAYOUT);
        }
        // Two of the users begin with money in both pods, so that short runs reach everything.
        for (uint256 i; i < USERS; ++i) {
            deposit(i, 100 * UNIT);
            for (uint256 j; j < PODS && i < 2; ++j) {
                lock(j, [i, i, i], [uint256(30 * UNIT), 0, 0], 0);
            }
        }
    }

    /// The functions that a run calls.
    function actions() external pure returns (bytes4[] memory list) {
        list = new bytes4[](17);
        list[0] = this.deposit.selector;
        list[1] = this.donate.selector;
        list[2] = this.withdraw.selector;
        list[3] = this.collect.selector;
        list[4] = this.lock.selector;
        list[5] = this.settle.selector;
        list[6] = this.settleReceipt.selector;
        list[7] = this.settleAlone.selector;
        list[8] = this.replay.selector;
        list[9] = this.startExit.selector;
        list[10] = this.meddle.selector;
        list[11] = this.finishExit.selector;
        list[12] = this.close.selector;
        list[13] = this.closeAlone.selector;
        list[14] = this.wait.selector;
        list[15] = this.dropKey.selector;
        list[16] = this.settleByAnother.selector;
    }

    // Money in and out.

    function deposit(uint256 user, uint256 amount) public {
        amount = bound(amount, 1, 1000 * UNIT);
        fund(labelOf(user % USERS), amount);
        deposited += amount;
    }

    /// Tokens that are simply sent to the escrow belong to nobody.
    function donate(uint256 amount) external {
        amount = bound(amount, 1, UNIT);
        token.mint(address(escrow), amount);
        donated += amount;
    }

    function withdraw(uint256 user, uint256 amount, bool relayed) external {
        user = user % USERS;
        address account = users[user];
        amount = bound(amount, 0, escrow.account(account).free);
        uint256 before = token.balanceOf(OWNER);
        if (relayed) {
            uint64 nonce = escrow.withdrawNonce(account);
            uint40 deadline = uint40(block.timestamp);
            CompactSignature memory signature =
                withdrawSignature(labelOf(user), uint96(amount), nonce, deadline);
            escrow.withdrawFor(account, uint96(amount), nonce, deadline, signature);
            mustRefuse(
                abi.encodeCall(
                    escrow.withdrawFor, (account, uint96(amount), nonce, deadline, signature)
                ),
                abi.encodeWithSelector(IEscrow.WrongNonce.selector, nonce + 1, nonce)
            );
        } else {
            vm.prank(OWNER);
            escrow.withdraw(account, amount);
        }
        vm.assertEq(token.balanceOf(OWNER) - before, amount, "all of it went to the owner");
        if (amount != 0) ++done["withdraw"];
    }

    function collect(uint256 pod) external {
        uint256 credit = escrow.credit(pods[pod % PODS]);
        if (credit == 0) return;
        uint256 before = token.balanceOf(PAYOUT);
        escrow.collect(pods[pod % PODS]);
        vm.assertEq(token.balanceOf(PAYOUT) - before, credit, "all of it went to the payout");
        ++done["collect"];
    }

    // Batches.

    /// `fault`: of the first row: 0 none, 1 old epoch, 2 past its deadline, 3 signed by a stranger.
    function lock(
        uint256 pod,
        uint256[BATCH] memory who,
        uint256[BATCH] memory totals,
        uint256 fault
    ) public {
        pod = pod % PODS;
        fault = fault % 8;
        LockRow[] memory rows = new LockRow[](BATCH);
        for (uint256 i; i < BATCH; ++i) {
            uint256 user = who[i] % USERS;
            Channel memory channel = channelOf(pod, user);
            uint256 most = uint256(channel.locked) + escrow.account(users[user]).free + 1;
            rows[i] = signedLock(pod, user, uint96(bound(totals[i], 0, most)), i == 0 ? fault : 0);
        }
        bytes memory data = abi.encodeCall(escrow.lock, (pods[pod], rows));
        if (send(pod, who[0] % USERS, data) != 0) ++done["lock"];
        vm.assertEq(again(data), 0, "the same locks twice");
    }

    /// One voucher in four is a stranger's, whose row is skipped.
    function settle(
        uint256 pod,
        uint256[BATCH] memory who,
        uint256[BATCH] memory caps,
        uint256[BATCH] memory claims
    ) external {
        pod = pod % PODS;
        renewKey(pod);
        podId = pods[pod];
        bytes memory rows;
        for (uint256 i; i < BATCH; ++i) {
            uint256 user = who[i] % (USERS + 1);
            Channel memory channel = channelOf(pod, user);
            uint96 cap = uint96(bound(caps[i], 0, uint256(channel.locked) * 2 + 2));
            uint96 claim = uint96(bound(claims[i], 0, uint256(channel.locked) * 2 + 2));
            rows = bytes.concat(rows, settleRow(labelOf(user), cap, claim, channel.epoch));
            noteVoucher(pod, user, channel.epoch, cap);
            noteClaim(pod, user, channel.epoch, claim);
        }
        bytes memory data =
            abi.encodeCall(escrow.settle, (podId, rows, batchSignature("identity", podId, rows)));
        if (send(pod, who[0] % USERS, data) != 0) ++done["settle"];
        vm.assertEq(again(data), 0, "the same batch twice");
    }

    function settleReceipt(uint256 pod, uint256 user, uint256 cap, uint256 claim) external {
        pod = pod % PODS;
        user = user % USERS;
        renewKey(pod);
        podId = pods[pod];
        Channel memory channel = channelOf(pod, user);
        cap = bound(cap, 0, uint256(channel.locked) * 2 + 2);
        claim = bound(claim, 0, uint256(channel.locked) * 2 + 2);
        ReceiptRow[] memory rows = new ReceiptRow[](1);
        rows[0] = receiptRow(labelOf(user), "identity", uint96(cap), uint96(claim), channel.epoch);
        noteVoucher(pod, user, channel.epoch, uint96(cap));
        noteClaim(pod, user, channel.epoch, uint96(claim));
        bytes memory data = abi.encodeCall(escrow.settleReceipts, (podId, rows));
        if (send(pod, user, data) != 0) ++done["settleReceipt"];
        vm.assertEq(again(data), 0, "the same receipt twice");
    }

    /// A voucher alone pays nothing: neither in a batch nor in a receipt that a stranger signed.
    function settleAlone(uint256 pod, uint256 user, uint96 cap) external {
        user = user % USERS;
        podId = pods[pod % PODS];
        uint24 epoch = channelOf(pod % PODS, user).epoch;
        noteVoucher(pod % PODS, user, epoch, cap);
        bytes memory rows = settleRow(labelOf(user), cap, cap, epoch);
        CompactSignature memory signature = batchSignature("stranger", podId, rows);
        mustRefuse(
            abi.encodeCall(escrow.settle, (podId, rows, signature)), notAccepted("stranger", 0)
        );
        ReceiptRow[] memory receipts = new ReceiptRow[](1);
        receipts[0] = receiptRow(labelOf(user), "stranger", cap, cap, epoch);
        vm.assertEq(again(abi.encodeCall(escrow.settleReceipts, (podId, receipts))), 0, "receipt");
    }

    /// Nor does it pay another key that the registry accepts for the pod: not in a batch, not in a
    /// receipt of that key under either name.
    function settleByAnother(uint256 pod, uint256 user, uint96 cap) external {
        pod = pod % PODS;
        user = user % USERS;
        podId = pods[pod];
        keys.accept(podId, addressOf("another"), block.timestamp + 8 days);
        uint24 epoch = channelOf(pod, user).epoch;
        noteVoucher(pod, user, epoch, cap);
        bytes memory rows = settleRow(labelOf(user), cap, cap, epoch);
        CompactSignature memory signature = batchSignature("another", podId, rows);
        vm.assertEq(again(abi.encodeCall(escrow.settle, (podId, rows, signature))), 0, "batch");
        ReceiptRow[] memory receipts = new ReceiptRow[](2);
        for (uint256 i; i < 2; ++i) {
            receipts[i] = receiptRow(labelOf(user), "another", cap, cap, epoch);
            receipts[i].voucher = voucherSignature(labelOf(user), "identity", podId, cap, epoch);
            if (i == 1) receipts[i].identity = IDENTITY;
        }
        vm.assertEq(again(abi.encodeCall(escrow.settleReceipts, (podId, receipts))), 0, "receipts");
    }

    /// Any batch of before, once more: what it moves is still within what was signed (`checkClaims`),
    /// and nothing at all for a user whose channel has another epoch since.
    function replay(uint256 index) external {
        if (replays.length == 0) return;
        Replay memory old = replays[index % replays.length];
        renewKey(old.pod);
        Channel memory before = channelOf(old.pod, old.user);
        again(old.data);
        vm.assertEq(again(old.data), 0, "the same batch twice");
        if (before.epoch == old.epoch) return;
        assertSame(channelOf(old.pod, old.user), before, "signatures of an old epoch");
        ++done["dead batch"];
    }

    // Ends.

    function startExit(uint256 pod, uint256 user, bool relayed) public {
        user = user % USERS;
        podId = pods[pod % PODS];
        Channel memory channel = channelOf(pod % PODS, user);
        if (channel.exitAt != 0) return;
        if (relayed) {
            CompactSignature memory signature = exitSignature(labelOf(user), channel.epoch);
            escrow.startExitFor(podId, channel.epoch, signature);
        } else {
            vm.prank(OWNER);
            escrow.startExit(users[user], podId);
        }
        uint256 exitAt = channelOf(pod % PODS, user).exitAt;
        vm.assertEq(exitAt, block.timestamp + 48 hours, "the window");
        ++done["startExit"];
    }

    /// Nobody can delay an exit, nor begin it again, nor lock while it runs; nobody can hurry it.
    function meddle(uint256 pod, uint256 user) external {
        user = user % USERS;
        podId = pods[pod % PODS];
        Channel memory channel = channelOf(pod % PODS, user);
        if (channel.exitAt == 0) return;
        bytes memory running = abi.encodeWithSelector(IEscrow.ExitRunning.selector, channel.exitAt);
        CompactSignature memory signature = exitSignature(labelOf(user), channel.epoch);
        mustRefuse(abi.encodeCall(escrow.startExitFor, (podId, channel.epoch, signature)), running);
        if (block.timestamp < channel.exitAt) {
            mustRefuse(
                abi.encodeCall(escrow.finishExit, (users[user], podId)),
                abi.encodeWithSelector(
                    IEscrow.ExitTooEarly.selector, channel.exitAt, block.timestamp
                )
            );
        }
        LockRow[] memory rows = new LockRow[](1);
        rows[0] = signedLock(pod % PODS, user, channel.locked + 1, 0);
        vm.assertEq(again(abi.encodeCall(escrow.lock, (podId, rows))), 0, "lock during an exit");
        ++done["meddle"];
    }

    /// From `exitAt` on it works for whoever sends it, and gives back everything unclaimed. Of the
    /// running exits the next one from (`pod`, `user`) on; `patient`: its time comes first.
    function finishExit(uint256 pod, uint256 user, bool patient) external {
        for (uint256 n; n < USERS * PODS; ++n) {
            uint256 i = (pod % PODS * USERS + user % USERS + n) % (USERS * PODS);
            uint256 exitAt = channelOf(i / USERS, i % USERS).exitAt;
            if (exitAt == 0) continue;
            if (patient && block.timestamp < exitAt) vm.warp(exitAt);
            if (block.timestamp < exitAt) return;
            finish(i / USERS, i % USERS);
            return comeBack(i / USERS, i % USERS);
        }
    }

    function finish(uint256 pod, uint256 user) private {
        Channel memory before = channelOf(pod, user);
        uint256 free = escrow.account(users[user]).free;
        escrow.finishExit(users[user], pods[pod]);
        uint256 refund = before.locked - before.claimed;
        vm.assertEq(escrow.account(users[user]).free, free + refund, "everything unclaimed");
        assertNextEpoch(pod, user, before, before.claimed);
        ++done["finishExit"];
    }

    function close(uint256 pod, uint256 user, uint256 amount, bool relayed) external {
        user = user % USERS;
        pod = pod % PODS;
        renewKey(pod);
        podId = pods[pod];
        Channel memory before = channelOf(pod, user);
        uint96 cumulative = uint96(bound(amount, 0, uint256(before.locked) + 1));
        noteVoucher(pod, user, before.epoch, cumulative);
        noteClaim(pod, user, before.epoch, cumulative);
        closeBySignatures(user, before.epoch, cumulative, relayed);
        uint96 most = cumulative > before.locked ? before.locked : cumulative;
        assertNextEpoch(pod, user, before, most > before.claimed ? most : before.claimed);
        comeBack(pod, user);
        ++done["close"];
    }

    /// Neither side alone can close: not the owner without the enclave, nor the enclave and a
    /// stranger without the user.
    function closeAlone(uint256 pod, uint256 user, uint96 cumulative) external {
        address account = users[user % USERS];
        podId = pods[pod % PODS];
        renewKey(pod % PODS);
        uint24 epoch = channelOf(pod % PODS, user % USERS).epoch;
        CompactSignature memory byStranger = closeSignature("stranger", account, epoch, cumulative);
        CompactSignature memory byIdentity = closeSignature("identity", account, epoch, cumulative);
        vm.prank(OWNER);
        mustRefuse(
            abi.encodeCall(escrow.close, (account, podId, cumulative, byStranger)),
            notAccepted("stranger", 0)
        );
        mustRefuse(
            abi.encodeCall(
                escrow.closeFor, (account, podId, epoch, cumulative, byIdentity, byStranger)
            ),
            abi.encodeWithSelector(IEscrow.WrongSigner.selector, account, addressOf("stranger"))
        );
    }

    // Time and keys.

    function wait(uint256 duration) external {
        vm.warp(block.timestamp + bound(duration, 1 hours, 60 hours));
    }

    /// The registry drops the identity key: a batch is refused until it accepts one again.
    function dropKey(uint256 pod) external {
        podId = pods[pod % PODS];
        keys.accept(podId, IDENTITY, block.timestamp - 1);
        bytes memory rows = settleRow(labelOf(0), UNIT, UNIT, channelOf(pod % PODS, 0).epoch);
        noteVoucher(pod % PODS, 0, channelOf(pod % PODS, 0).epoch, UNIT);
        CompactSignature memory signature = batchSignature("identity", podId, rows);
        mustRefuse(
            abi.encodeCall(escrow.settle, (podId, rows, signature)),
            notAccepted("identity", block.timestamp - 1)
        );
    }

    // What must hold.

    /// The balance is what is owed and what was donated; what went in is inside or out.
    function checkBalance() external view {
        uint256 owed;
        for (uint256 i; i < USERS; ++i) {
            owed += escrow.account(users[i]).free;
            for (uint256 j; j < PODS; ++j) {
                Channel memory channel = channelOf(j, i);
                owed += channel.locked - channel.claimed;
            }
        }
        for (uint256 j; j < PODS; ++j) {
            owed += escrow.credit(pods[j]);
        }
        uint256 held = token.balanceOf(address(escrow));
        vm.assertEq(held, owed + donated, "held = owed + donated");
        uint256 out = token.balanceOf(OWNER) + token.balanceOf(PAYOUT);
        vm.assertEq(deposited + donated, held + out, "in = held + out");
    }

    /// `claimed` never goes down nor above `locked`; within an epoch neither grows beyond what was
    /// signed; all claims together are what the pods got. A running exit keeps its time.
    function checkChannels() external {
        uint256 claims;
        for (uint256 j; j < PODS; ++j) {
            for (uint256 i; i < USERS; ++i) {
                Channel memory channel = channelOf(j, i);
                checkChannel(channel, last[j][i], signed[j][i][channel.epoch]);
                last[j][i] = channel;
                claims += channel.claimed;
            }
            claims -= escrow.credit(pods[j]);
        }
        vm.assertEq(claims, token.balanceOf(PAYOUT), "claimed = credit + collected");
        vm.assertEq(escrow.channel(users[STRANGER], pods[0]).locked, 0, "the stranger's channel");
    }

    /// After the window every user has everything unclaimed, and the pods everything claimed, with
    /// nobody's help: then the escrow is empty but for donations.
    function checkThatAllCanLeave() external {
        for (uint256 n; n < USERS * PODS; ++n) {
            startExit(n / USERS, n % USERS, n % 2 == 0);
        }
        vm.warp(block.timestamp + 48 hours);
        for (uint256 n; n < USERS * PODS; ++n) {
            finish(n / USERS, n % USERS);
        }
        for (uint256 i; i < USERS; ++i) {
            uint256 free = escrow.account(users[i]).free;
            vm.prank(OWNER);
            escrow.withdraw(users[i], free);
        }
        for (uint256 j; j < PODS; ++j) {
            if (escrow.credit(pods[j]) != 0) escrow.collect(pods[j]);
        }
        vm.assertEq(token.balanceOf(address(escrow)), donated, "only donations are left");
    }

    function checkChannel(Channel memory now_, Channel memory before, Signed memory most)
        private
        pure
    {
        vm.assertGe(now_.claimed, before.claimed, "claimed went down");
        vm.assertLe(now_.claimed, now_.locked, "claimed above locked");
        uint256 both = most.cap < most.claim ? most.cap : most.claim;
        if (both < most.claimedBefore) both = most.claimedBefore;
        vm.assertLe(now_.claimed, both, "claimed without both signatures");
        uint256 total = most.total < most.claimedBefore ? most.claimedBefore : most.total;
        vm.assertLe(now_.locked, total, "locked without the user's signature");
        vm.assertEq(now_.epoch, before.epoch, "an epoch that nobody ended");
        if (before.exitAt != 0) vm.assertEq(now_.exitAt, before.exitAt, "the exit moved");
    }

    function assertNextEpoch(uint256 pod, uint256 user, Channel memory before, uint96 claimed)
        private
        view
    {
        Channel memory expected = Channel(claimed, claimed, 0, before.epoch + 1);
        assertSame(channelOf(pod, user), expected, "the next epoch");
    }

    /// The user reserves all it has once more; every batch of before pays nothing from that.
    function comeBack(uint256 pod, uint256 user) private {
        Channel memory channel = channelOf(pod, user);
        checkpoint(pod, user, channel);
        uint96 all = channel.locked + escrow.account(users[user]).free;
        LockRow[] memory rows = new LockRow[](1);
        rows[0] = signedLock(pod, user, all, 0);
        vm.assertEq(
            again(abi.encodeCall(escrow.lock, (pods[pod], rows))), all - channel.locked, "back"
        );
        renewKey(pod);
        Channel memory before = channelOf(pod, user);
        for (uint256 i; i < replays.length; ++i) {
            if (replays[i].pod == pod) again(replays[i].data);
        }
        assertSame(channelOf(pod, user), before, "signatures of an old epoch");
        ++done["comeBack"];
    }

    /// A new epoch begins with what was claimed.
    function checkpoint(uint256 pod, uint256 user, Channel memory channel) private {
        signed[pod][user][channel.epoch].claimedBefore = channel.claimed;
        last[pod][user] = channel;
    }

    function assertSame(Channel memory left, Channel memory right, string memory what)
        private
        pure
    {
        vm.assertEq(keccak256(abi.encode(left)), keccak256(abi.encode(right)), what);
    }

    function closeBySignatures(uint256 user, uint24 epoch, uint96 cumulative, bool relayed)
        private
    {
        address account = users[user];
        CompactSignature memory byIdentity = closeSignature("identity", account, epoch, cumulative);
        if (relayed) {
            CompactSignature memory byUser =
                closeSignature(labelOf(user), account, epoch, cumulative);
            escrow.closeFor(account, podId, epoch, cumulative, byIdentity, byUser);
        } else {
            vm.prank(OWNER);
            escrow.close(account, podId, cumulative, byIdentity);
        }
    }

    function signedLock(uint256 pod, uint256 user, uint96 total, uint256 fault)
        private
        returns (LockRow memory row)
    {
        podId = pods[pod];
        uint24 epoch = channelOf(pod, user).epoch;
        if (fault == 1 && epoch != 0) --epoch;
        row = lockRow(labelOf(user), total, epoch);
        if (fault == 2) row.deadline = uint40(block.timestamp - 1);
        if (fault == 3) return lockRow("stranger", total, epoch);
        Signed storage most = signed[pod][user][epoch];
        if (fault != 2 && total > most.total) most.total = total;
    }

    /// Sends a batch and keeps it for replays. The first word it returns is the amount it moved.
    function send(uint256 pod, uint256 user, bytes memory data) private returns (uint256 moved) {
        if (replays.length < 8) replays.push(Replay(pod, user, channelOf(pod, user).epoch, data));
        return again(data);
    }

    function again(bytes memory data) private returns (uint256 moved) {
        (bool good, bytes memory result) = address(escrow).call(data);
        vm.assertTrue(good, "a batch reverted");
        (moved,) = abi.decode(result, (uint256, bytes));
    }

    function mustRefuse(bytes memory data, bytes memory expected) private {
        (bool good, bytes memory result) = address(escrow).call(data);
        vm.assertTrue(!good, "not refused");
        vm.assertEq(result, expected, "refused with");
    }

    function notAccepted(string memory label, uint256 goodUntil)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeWithSelector(
            IEscrow.IdentityNotAccepted.selector, podId, addressOf(label), goodUntil
        );
    }

    function renewKey(uint256 pod) private {
        keys.accept(pods[pod], IDENTITY, block.timestamp + 8 days);
    }

    function noteVoucher(uint256 pod, uint256 user, uint24 epoch, uint96 cap) private {
        Signed storage most = signed[pod][user][epoch];
        if (cap > most.cap) most.cap = cap;
    }

    function noteClaim(uint256 pod, uint256 user, uint24 epoch, uint96 claim) private {
        Signed storage most = signed[pod][user][epoch];
        if (claim > most.claim) most.claim = claim;
    }

    function withdrawSignature(string memory label, uint96 amount, uint64 nonce, uint40 deadline)
        private
        view
        returns (CompactSignature memory)
    {
        address user = addressOf(label);
        return
            sign(label, keccak256(abi.encode(Eip712.WITHDRAW_TYPE, user, amount, nonce, deadline)));
    }

    function channelOf(uint256 pod, uint256 user) private view returns (Channel memory) {
        return escrow.channel(users[user], pods[pod]);
    }

    function labelOf(uint256 user) private pure returns (string memory) {
        return user == STRANGER ? "stranger" : string.concat("user", vm.toString(user));
    }
}
