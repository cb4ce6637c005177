// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {Eip712} from "./Eip712.sol";
import {IDepositToken} from "./interfaces/IDepositToken.sol";
import {
    Account,
    Authorization,
    Channel,
    CompactSignature,
    IEscrow,
    LockRow,
    Permit,
    ReceiptRow
} from "./interfaces/IEscrow.sol";
import {IPodRegistry, PodId} from "./interfaces/IPodRegistry.sol";
import {Slots} from "./Slots.sol";

/// @title Escrow of one ERC-20 token
/// @notice See `IEscrow`.
/// @dev Steps in comments are those of the checklist in `spec/billing.md`. What is left of the
/// token's balance beyond all accounts, channels and credits (a plain transfer here) belongs to
/// nobody and stays.
contract Escrow is IEscrow {
    using SafeTransferLib for address;

    /// @inheritdoc IEscrow
    address public immutable TOKEN;
    /// @inheritdoc IEscrow
    IPodRegistry public immutable REGISTRY;
    /// @inheritdoc IEscrow
    uint256 public constant EXIT_WINDOW = 48 hours;

    uint256 private constant ROW_BYTES = 91;

    uint256 private immutable _DEPLOYMENT_CHAIN_ID;
    bytes32 private immutable _DEPLOYMENT_SEPARATOR;

    mapping(address user => Account) private _accounts;
    // The pod comes first, so that a batch hashes it once.
    mapping(PodId podId => mapping(address user => Channel)) private _channels;
    mapping(PodId podId => uint256) private _credits;
    mapping(address user => uint64) private _withdrawNonces;
    bool private transient _depositing;

    /// @param token The ERC-20 of all amounts. A token that changes balances by itself is not
    /// supported.
    /// @param registry Whose identity keys and payout addresses count.
    constructor(address token, IPodRegistry registry) {
        require(token.code.length != 0, NoCode(token));
        require(address(registry).code.length != 0, NoCode(address(registry)));
        TOKEN = token;
        REGISTRY = registry;
        _DEPLOYMENT_CHAIN_ID = block.chainid;
        _DEPLOYMENT_SEPARATOR = Eip712.domain(address(this));
    }

    modifier onlyOwner(address user) {
        address owner = _accounts[user].owner;
        require(msg.sender == owner, NotOwner(user, owner, msg.sender));
        _;
    }

    /// Adds to the free part of `user` what the body brings. A second deposit from inside the token
    /// would be counted in both; whatever leaves meanwhile (a withdrawal, a collection) only makes
    /// the difference smaller.
    modifier deposits(address user, address payer) {
        require(_accounts[user].owner != address(0), NotOpen(user));
        require(!_depositing, Reentered());
        _depositing = true;
        uint256 before = TOKEN.balanceOf(address(this));
        _;
        uint256 held = TOKEN.balanceOf(address(this));
        _depositing = false;
        require(held > before, NothingArrived());
        _addFree(user, held - before);
        emit Deposited(user, payer, held - before);
    }

    /// @inheritdoc IEscrow
    function open(address user, address owner, CompactSignature calldata signature) public {
        address current = _accounts[user].owner;
        require(current == address(0), AlreadyOpen(user, current));
        require(owner != address(0), ZeroOwner());
        bytes32 structHash = keccak256(abi.encode(Eip712.OPEN_ACCOUNT_TYPE, user, owner));
        _requireSigner(user, structHash, signature);
        _accounts[user].owner = owner;
        emit AccountOpened(user, owner);
    }

    /// @inheritdoc IEscrow
    function deposit(address user, uint256 amount) public deposits(user, msg.sender) {
        TOKEN.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IEscrow
    // The token could reenter from `permit`, before anything is read.
    // slither-disable-next-line reentrancy-benign,reentrancy-events
    function depositWithPermit(address user, Permit calldata permit) public {
        _permit(permit);
        deposit(user, permit.amount);
    }

    /// @inheritdoc IEscrow
    function depositWithAuthorization(address user, Authorization calldata authorization)
        public
        deposits(user, authorization.from)
    {
        (uint8 v, bytes32 s) = Eip712.expand(authorization.signature.vs);
        IDepositToken(TOKEN)
            .receiveWithAuthorization(
                authorization.from,
                address(this),
                authorization.amount,
                authorization.validAfter,
                authorization.validBefore,
                depositNonce(user, authorization.salt),
                v,
                authorization.signature.r,
                s
            );
    }

    /// @inheritdoc IEscrow
    function openAndDeposit(
        address user,
        address owner,
        CompactSignature calldata signature,
        uint256 amount
    ) external {
        _openOnce(user, owner, signature);
        deposit(user, amount);
    }

    /// @inheritdoc IEscrow
    function openAndDepositWithPermit(
        address user,
        address owner,
        CompactSignature calldata signature,
        Permit calldata permit
    ) external {
        _openOnce(user, owner, signature);
        depositWithPermit(user, permit);
    }

    /// @inheritdoc IEscrow
    function openAndDepositWithAuthorization(
        address user,
        address owner,
        CompactSignature calldata signature,
        Authorization calldata authorization
    ) external {
        _openOnce(user, owner, signature);
        depositWithAuthorization(user, authorization);
    }

    /// @inheritdoc IEscrow
    function withdraw(address user, uint256 amount) external onlyOwner(user) {
        _withdraw(user, msg.sender, amount);
    }

    /// @inheritdoc IEscrow
    function withdrawFor(
        address user,
        uint96 amount,
        uint64 nonce,
        uint40 deadline,
        CompactSignature calldata signature
    ) external {
        require(block.timestamp <= deadline, Expired(deadline, block.timestamp));
        uint64 current = _withdrawNonces[user];
        require(nonce == current, WrongNonce(current, nonce));
        address owner = _accounts[user].owner;
        require(owner != address(0), NotOpen(user));
        bytes32 structHash =
            keccak256(abi.encode(Eip712.WITHDRAW_TYPE, user, amount, nonce, deadline));
        _requireSigner(user, structHash, signature);
        _withdrawNonces[user] = current + 1;
        _withdraw(user, owner, amount);
    }

    /// @inheritdoc IEscrow
    function lock(PodId podId, LockRow[] calldata rows)
        external
        returns (uint256 moved, bytes memory skipped)
    {
        require(rows.length != 0, NoRows());
        bytes32 separator = DOMAIN_SEPARATOR();
        uint256 template = Eip712.allocationTemplate(podId);
        mapping(address => Channel) storage entries = _channels[podId];
        skipped = _bitmap(rows.length);
        for (uint256 i; i < rows.length; ++i) {
            uint256 difference = _lockRow(separator, template, entries, rows[i]);
            if (difference == 0) _mark(skipped, i);
            moved += difference;
        }
        emit Locked(podId, moved, rows.length, skipped);
    }

    /// @inheritdoc IEscrow
    function settle(PodId podId, bytes calldata rows, CompactSignature calldata signature)
        external
        returns (uint256 paid, bytes memory skipped)
    {
        uint256 count = rows.length / ROW_BYTES;
        require(count != 0 && rows.length % ROW_BYTES == 0, RowsLength(rows.length, ROW_BYTES));
        bytes32 separator = DOMAIN_SEPARATOR();
        bytes32 batch = keccak256(abi.encode(Eip712.BATCH_TYPE, podId, keccak256(rows)));
        address identity = Eip712.recover(Eip712.digest(separator, batch), signature);
        _requireIdentity(podId, identity);
        skipped = _bitmap(count);
        uint256 template = Eip712.voucherTemplate(separator, podId, identity);
        paid = _settleRows(template, podId, rows, skipped);
        _addCredit(podId, paid);
        emit Settled(podId, paid, count, skipped);
    }

    /// @inheritdoc IEscrow
    function settleReceipts(PodId podId, ReceiptRow[] calldata rows)
        external
        returns (uint256 paid, bytes memory skipped)
    {
        require(rows.length != 0, NoRows());
        bytes32 separator = DOMAIN_SEPARATOR();
        skipped = _bitmap(rows.length);
        for (uint256 i; i < rows.length; ++i) {
            uint256 amount = _settleReceipt(separator, podId, rows[i]);
            // slither-disable-next-line incorrect-equality: no balance, but what the row moved
            if (amount == 0) _mark(skipped, i);
            paid += amount;
        }
        _addCredit(podId, paid);
        emit Settled(podId, paid, rows.length, skipped);
    }

    /// @inheritdoc IEscrow
    function startExit(address user, PodId podId) external onlyOwner(user) {
        _startExit(user, podId);
    }

    /// @inheritdoc IEscrow
    function startExitFor(PodId podId, uint24 epoch, CompactSignature calldata signature) external {
        bytes32 structHash = keccak256(abi.encode(Eip712.START_EXIT_TYPE, podId, epoch));
        address user = Eip712.recover(Eip712.digest(DOMAIN_SEPARATOR(), structHash), signature);
        require(_accounts[user].owner != address(0), NotOpen(user));
        _requireEpoch(_channels[podId][user], epoch);
        _startExit(user, podId);
    }

    /// @inheritdoc IEscrow
    function finishExit(address user, PodId podId) external {
        Channel storage entry = _channels[podId][user];
        uint40 exitAt = entry.exitAt;
        require(exitAt != 0, NoExit(user, podId));
        require(block.timestamp >= exitAt, ExitTooEarly(exitAt, block.timestamp));
        (uint24 newEpoch, uint256 refund) = _nextEpoch(entry, user);
        emit ExitFinished(user, podId, newEpoch, refund);
    }

    /// @inheritdoc IEscrow
    function close(
        address user,
        PodId podId,
        uint96 cumulative,
        CompactSignature calldata identitySignature
    ) external onlyOwner(user) {
        bytes32 digest = _closeDigest(user, podId, cumulative);
        _close(user, podId, cumulative, Eip712.recover(digest, identitySignature));
    }

    /// @inheritdoc IEscrow
    function closeFor(
        address user,
        PodId podId,
        uint24 epoch,
        uint96 cumulative,
        CompactSignature calldata identitySignature,
        CompactSignature calldata userSignature
    ) external {
        require(_accounts[user].owner != address(0), NotOpen(user));
        _requireEpoch(_channels[podId][user], epoch);
        bytes32 digest = _closeDigest(user, podId, cumulative);
        address signer = Eip712.recover(digest, userSignature);
        require(signer == user, WrongSigner(user, signer));
        _close(user, podId, cumulative, Eip712.recover(digest, identitySignature));
    }

    /// @inheritdoc IEscrow
    function collect(PodId podId) external returns (uint256 amount) {
        amount = _credits[podId];
        require(amount != 0, NothingToCollect(podId));
        address payout = REGISTRY.payoutOf(podId);
        _credits[podId] = 0;
        emit Collected(podId, payout, amount);
        TOKEN.safeTransfer(payout, amount);
    }

    /// @inheritdoc IEscrow
    function account(address user) external view returns (Account memory) {
        return _accounts[user];
    }

    /// @inheritdoc IEscrow
    function channel(address user, PodId podId) external view returns (Channel memory) {
        return _channels[podId][user];
    }

    /// @inheritdoc IEscrow
    function channels(PodId podId, address[] calldata users)
        external
        view
        returns (Channel[] memory entries)
    {
        entries = new Channel[](users.length);
        for (uint256 i; i < users.length; ++i) {
            entries[i] = _channels[podId][users[i]];
        }
    }

    /// @inheritdoc IEscrow
    function credit(PodId podId) external view returns (uint256) {
        return _credits[podId];
    }

    /// @inheritdoc IEscrow
    function depositNonce(address user, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(Eip712.DEPOSIT_TYPE, user, salt));
    }

    /// @inheritdoc IEscrow
    function withdrawNonce(address user) external view returns (uint64) {
        return _withdrawNonces[user];
    }

    /// @inheritdoc IEscrow
    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        // After a fork of the chain the stored one would be valid on both sides.
        return block.chainid == _DEPLOYMENT_CHAIN_ID
            ? _DEPLOYMENT_SEPARATOR
            : Eip712.domain(address(this));
    }

    /// A second opening by the same owner, perhaps sent by somebody faster, is no failure.
    function _openOnce(address user, address owner, CompactSignature calldata signature) private {
        if (owner == address(0) || _accounts[user].owner != owner) open(user, owner, signature);
    }

    /// Only the caller's own permit: else anybody could turn an allowance into a deposit for
    /// himself.
    function _permit(Permit calldata permit) private {
        (uint8 v, bytes32 s) = Eip712.expand(permit.signature.vs);
        IDepositToken token = IDepositToken(TOKEN);
        try token.permit(
            msg.sender, address(this), permit.amount, permit.deadline, v, permit.signature.r, s
        ) {}
        catch (bytes memory reason) {
            // Somebody may have sent the permit before: what counts is the allowance.
            uint256 allowed = token.allowance(msg.sender, address(this));
            require(allowed >= permit.amount, PermitRefused(reason));
        }
    }

    function _withdraw(address user, address owner, uint256 amount) private {
        uint256 free = _accounts[user].free;
        require(amount <= free, InsufficientFree(user, free, amount));
        // forge-lint: disable-next-line(unsafe-typecast): less than `free`, which fits
        _accounts[user].free = uint96(free - amount);
        emit Withdrawn(user, owner, amount);
        TOKEN.safeTransfer(owner, amount);
    }

    /// Step 2. Zero: the row changed nothing.
    function _lockRow(
        bytes32 separator,
        uint256 template,
        mapping(address => Channel) storage entries,
        LockRow calldata row
    ) private returns (uint256 difference) {
        (bytes32 structHash, uint256 total, uint256 epoch, uint256 deadline) =
            Eip712.allocationHash(template, row);
        address user = Eip712.recover(Eip712.digest(separator, structHash), row.signature);
        if (user == address(0) || block.timestamp > deadline || total > type(uint96).max) return 0;
        Channel storage entry = Slots.channelOf(entries, user);
        uint256 current = Slots.load(entry);
        uint256 locked = Slots.lockedOf(current);
        if (epoch != Slots.epochOf(current) || Slots.exitAtOf(current) != 0 || total <= locked) {
            return 0;
        }
        Account storage payer = _accounts[user];
        uint256 word = Slots.load(payer);
        unchecked {
            difference = total - locked;
        }
        if (difference > Slots.freeOf(word)) return 0;
        Slots.storeLessFree(payer, word, difference);
        Slots.storeMoreLocked(entry, current, difference);
    }

    /// Step 8 for packed rows: `cap 12 ‖ claimed 12 ‖ epoch 3 ‖ r 32 ‖ vs 32`.
    function _settleRows(uint256 template, PodId podId, bytes calldata rows, bytes memory skipped)
        private
        returns (uint256 paid)
    {
        mapping(address => Channel) storage entries = _channels[podId];
        uint256 start;
        assembly ("memory-safe") {
            start := rows.offset
        }
        // No sum here can overflow: positions in calldata, and fewer than 2^64 amounts of 96 bits.
        unchecked {
            uint256 end = start + rows.length;
            for (uint256 offset = start; offset != end; offset += ROW_BYTES) {
                (address user, uint256 head) = Eip712.voucherSigner(template, offset);
                // Nothing can be locked under zero, which stands for a bad signature; refused all
                // the same.
                uint256 amount;
                if (user != address(0)) amount = Slots.claim(Slots.channelOf(entries, user), head);
                if (amount == 0) _mark(skipped, (offset - start) / ROW_BYTES);
                paid += amount;
            }
        }
    }

    /// Step 8 for one row with its own settlement signature. The row says whose it is: the voucher
    /// names that key, and the settlement names the user, whom the voucher's signature gives.
    function _settleReceipt(bytes32 separator, PodId podId, ReceiptRow calldata row)
        private
        returns (uint256)
    {
        address identity = row.identity;
        bytes32 voucher =
            keccak256(abi.encode(Eip712.VOUCHER_TYPE, podId, identity, row.epoch, row.cap));
        address user = Eip712.recover(Eip712.digest(separator, voucher), row.voucher);
        if (user == address(0)) return 0;
        bytes32 settlement = keccak256(
            abi.encode(
                Eip712.SETTLEMENT_TYPE,
                _channelId(user, podId),
                row.epoch,
                row.seq,
                row.cumulative,
                row.receiptHash
            )
        );
        address signer = Eip712.recover(Eip712.digest(separator, settlement), row.settlement);
        if (signer == address(0) || signer != identity) return 0;
        // slither-disable-next-line calls-loop: the registry is immutable and does not fail
        if (block.timestamp > REGISTRY.keyGoodUntil(podId, identity)) return 0;
        return Slots.claim(_channels[podId][user], _head(row.cap, row.cumulative, row.epoch));
    }

    /// `cap 12 ‖ claimed 12 ‖ epoch 3`, as a settle row begins.
    function _head(uint96 cap, uint96 claimed, uint24 epoch) private pure returns (uint256) {
        return (uint256(cap) << 160) | (uint256(claimed) << 64) | (uint256(epoch) << 40);
    }

    function _startExit(address user, PodId podId) private {
        Channel storage entry = _channels[podId][user];
        require(entry.exitAt == 0, ExitRunning(entry.exitAt));
        // forge-lint: disable-next-line(unsafe-typecast): seconds fit in 40 bits for 34,000 years
        uint40 exitAt = uint40(block.timestamp + EXIT_WINDOW);
        entry.exitAt = exitAt;
        emit ExitStarted(user, podId, entry.epoch, exitAt);
    }

    /// Step 9: both agreed on the end.
    function _close(address user, PodId podId, uint96 cumulative, address identity) private {
        _requireIdentity(podId, identity);
        Channel storage entry = _channels[podId][user];
        uint256 paid = Slots.claim(entry, _head(cumulative, cumulative, entry.epoch));
        (uint24 newEpoch, uint256 refund) = _nextEpoch(entry, user);
        _addCredit(podId, paid);
        emit Closed(user, podId, newEpoch, paid, refund);
    }

    /// Everything unclaimed is free again; signatures of the epoch that ends are void.
    function _nextEpoch(Channel storage entry, address user)
        private
        returns (uint24 newEpoch, uint256 refund)
    {
        refund = entry.locked - entry.claimed;
        newEpoch = entry.epoch + 1;
        (entry.locked, entry.exitAt, entry.epoch) = (entry.claimed, 0, newEpoch);
        _addFree(user, refund);
    }

    function _addFree(address user, uint256 amount) private {
        uint256 free = _accounts[user].free;
        require(amount <= type(uint96).max - free, FreeTooLarge(user, free, amount));
        // forge-lint: disable-next-line(unsafe-typecast): checked above
        _accounts[user].free = uint96(free + amount);
    }

    function _addCredit(PodId podId, uint256 amount) private {
        if (amount != 0) _credits[podId] += amount;
    }

    function _requireSigner(
        address expected,
        bytes32 structHash,
        CompactSignature calldata signature
    ) private view {
        address signer = Eip712.recover(Eip712.digest(DOMAIN_SEPARATOR(), structHash), signature);
        require(signer != address(0) && signer == expected, WrongSigner(expected, signer));
    }

    function _requireIdentity(PodId podId, address identity) private view {
        uint256 goodUntil = identity == address(0) ? 0 : REGISTRY.keyGoodUntil(podId, identity);
        require(block.timestamp <= goodUntil, IdentityNotAccepted(podId, identity, goodUntil));
    }

    function _requireEpoch(Channel storage entry, uint24 epoch) private view {
        require(entry.epoch == epoch, WrongEpoch(entry.epoch, epoch));
    }

    function _closeDigest(address user, PodId podId, uint96 cumulative)
        private
        view
        returns (bytes32)
    {
        uint24 epoch = _channels[podId][user].epoch;
        bytes32 id = _channelId(user, podId);
        return Eip712.digest(
            DOMAIN_SEPARATOR(), keccak256(abi.encode(Eip712.CLOSE_TYPE, id, epoch, cumulative))
        );
    }

    function _channelId(address user, PodId podId) private pure returns (bytes32) {
        return keccak256(abi.encode(user, podId));
    }

    /// One bit per row, all clear.
    function _bitmap(uint256 rows) private pure returns (bytes memory) {
        return new bytes((rows + 7) / 8);
    }

    function _mark(bytes memory bitmap, uint256 i) private pure {
        bitmap[i / 8] |= bytes1(0x01) << (i % 8);
    }
}
