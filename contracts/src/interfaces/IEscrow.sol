// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPodRegistry, PodId} from "./IPodRegistry.sol";

/// @notice EIP-2098 compact signature.
/// @param r As in ECDSA.
/// @param vs `s` with the parity of the point in its top bit; `s ≤ n/2`.
struct CompactSignature {
    bytes32 r;
    bytes32 vs;
}

/// @notice One signed `Allocation` for the pod of the call.
/// @param total Cumulative amount to have been locked in the channel's life, in the token's
/// smallest unit.
/// @param termsHash The `offersHash` the user agreed to; checked by the enclave, not by the
/// contract.
/// @param epoch The channel's epoch.
/// @param deadline Unix seconds; the last second in which the row may be locked.
/// @param signature By the user key.
struct LockRow {
    uint96 total;
    bytes32 termsHash;
    uint24 epoch;
    uint40 deadline;
    CompactSignature signature;
}

/// @notice A `Voucher` and a `Settlement` for the same channel of the pod of the call.
/// @param identity The identity key that the voucher names and that signed the settlement.
/// @param cap Of the voucher: cumulative, in the token's smallest unit.
/// @param cumulative Of the settlement: what the enclave metered, rounded up once per answer.
/// @param epoch Of both.
/// @param seq Of the settlement.
/// @param receiptHash Of the settlement.
/// @param voucher By the user key.
/// @param settlement By `identity`.
struct ReceiptRow {
    address identity;
    uint96 cap;
    uint96 cumulative;
    uint24 epoch;
    uint64 seq;
    bytes32 receiptHash;
    CompactSignature voucher;
    CompactSignature settlement;
}

/// @notice An EIP-2612 permit for the escrow, by the caller.
/// @param amount What is allowed and deposited, in the token's smallest unit.
/// @param deadline Unix seconds; the last second in which the token takes it.
/// @param signature `Permit` in the token's domain.
struct Permit {
    uint256 amount;
    uint256 deadline;
    CompactSignature signature;
}

/// @notice An EIP-3009 authorization to pay the escrow.
/// @param from Who pays.
/// @param amount In the token's smallest unit.
/// @param validAfter Unix seconds; valid after this second.
/// @param validBefore Unix seconds; valid before this second.
/// @param salt 32 bytes that `from` chose; the signed nonce is `depositNonce(user, salt)`.
/// @param signature `ReceiveWithAuthorization` in the token's domain, by `from`.
struct Authorization {
    address from;
    uint256 amount;
    uint256 validAfter;
    uint256 validBefore;
    bytes32 salt;
    CompactSignature signature;
}

/// @notice A user's account; one storage slot.
/// @param owner Who may withdraw, exit and close; set once.
/// @param free Not reserved for any pod, in the token's smallest unit.
struct Account {
    address owner;
    uint96 free;
}

/// @notice What a user has reserved for one pod; one storage slot.
/// @param locked Cumulative over the channel's life, in the token's smallest unit.
/// @param claimed Cumulative over the channel's life; `claimed ≤ locked`, never decreases.
/// @param exitAt Unix seconds from which the exit can be finished; 0: no exit is running.
/// @param epoch Generation; signatures of another one are refused.
struct Channel {
    uint96 locked;
    uint96 claimed;
    uint40 exitAt;
    uint24 epoch;
}

/// @title Escrow of one ERC-20 token: users reserve for pods, pods are paid what both sides signed
///
/// @notice **Token.** One ERC-20 for all amounts, in its smallest unit, immutable. What counts on a
/// deposit is what arrives, so a fee on transfer is the payer's. A token must not change balances by
/// itself (rebasing), and must exist fewer than 2^96 times, or `FreeTooLarge` can stop an exit until
/// the owner withdraws. Its issuer can stop what moves the token (deposit, withdrawal, collection),
/// for all or for one address; it cannot stop locks, settlements and exits, which do not call it.
///
/// **Rounding.** None. A claim is an integer that the enclave rounded up once per answer; a pod gets
/// `min(claimed, cap, locked)` less what it got before, and a refund is the exact remainder.
///
/// **Safety.** The balance is at least all free parts, unclaimed locks and credits: nothing a caller
/// does can make the escrow owe more than it holds. `claimed` never decreases, never exceeds
/// `locked`, and grows only by what the user key (or, in `close`, the owner) and an identity key of
/// the pod both signed for this epoch, pod, escrow and chain. A voucher names the one identity key
/// that may claim it: whatever other keys the registry accepts for the pod can claim none of it.
/// Free parts leave to the account's owner only, credits to the pod's payout address only. Assumed:
/// secp256k1 and Keccak hold, user keys are secret, and a user signs vouchers for an identity key
/// that it has verified; a false one can take what they allow, no more.
///
/// **Liveness.** A user needs nobody: `EXIT_WINDOW` seconds after `startExit` everything unclaimed
/// can be made free by anyone and withdrawn; no call by another party delays that, and a running
/// exit is ended early only by `close`, to which the owner or the user key agrees. A pod needs
/// nobody: anyone may settle and collect for it, until the exit is finished. Assumed: the chain takes
/// a transaction within the window, and somebody pays for its gas. An epoch counts to 2^24 − 1; only
/// the owner and the user key can use epochs up.
///
/// @dev No owner, no upgrade, no fee, no pause. Locking and settling call only the precompile at
/// 0x01 and the immutable registry. Digests: `spec/billing.md`.
interface IEscrow {
    /// @notice The account of `user` now belongs to `owner`.
    event AccountOpened(address indexed user, address indexed owner);
    /// @notice `amount` arrived for `user` from `payer`, after any fee of the token.
    event Deposited(address indexed user, address indexed payer, uint256 amount);
    /// @notice `amount` of the free part went to the owner.
    event Withdrawn(address indexed user, address indexed owner, uint256 amount);
    /// @notice `moved` was reserved for the pod by `rows` allocations, except those in `skipped`.
    /// Row i is skipped when bit i % 8 of byte i / 8 is set.
    event Locked(PodId indexed podId, uint256 moved, uint256 rows, bytes skipped);
    /// @notice `paid` was credited to the pod for `rows` claims, except those in `skipped` (see
    /// `Locked`).
    event Settled(PodId indexed podId, uint256 paid, uint256 rows, bytes skipped);
    /// @notice The user leaves the pod; vouchers still settle until the exit is finished.
    event ExitStarted(address indexed user, PodId indexed podId, uint24 epoch, uint40 exitAt);
    /// @notice `refund` is free again; signatures of the old epoch are void.
    event ExitFinished(address indexed user, PodId indexed podId, uint24 newEpoch, uint256 refund);
    /// @notice Both sides agreed on the end: `paid` to the pod, `refund` free again.
    event Closed(
        address indexed user, PodId indexed podId, uint24 newEpoch, uint256 paid, uint256 refund
    );
    /// @notice The pod's credit went to its payout address.
    event Collected(PodId indexed podId, address indexed payout, uint256 amount);

    /// @notice The registry or the token has no code.
    error NoCode(address target);
    /// @notice The owner of an account cannot be zero.
    error ZeroOwner();
    /// @notice The account has an owner already.
    error AlreadyOpen(address user, address owner);
    /// @notice The account has no owner yet; `open` it first.
    error NotOpen(address user);
    /// @notice Only the account's owner may do this.
    error NotOwner(address user, address owner, address caller);
    /// @notice The signature is not by `expected`. A malformed one recovers to zero.
    error WrongSigner(address expected, address recovered);
    /// @notice `identity` may not sign for this pod: unknown (`goodUntil` 0), or past its grace.
    error IdentityNotAccepted(PodId podId, address identity, uint256 goodUntil);
    /// @notice A deposit was entered again from inside the token.
    error Reentered();
    /// @notice The token refused the permit with `reason`, and the caller's allowance is too small.
    error PermitRefused(bytes reason);
    /// @notice The token moved nothing to the escrow.
    error NothingArrived();
    /// @notice The free part would exceed 2^96 − 1; withdraw some first.
    error FreeTooLarge(address user, uint256 free, uint256 added);
    /// @notice Withdrawal of more than the free part.
    error InsufficientFree(address user, uint256 free, uint256 asked);
    /// @notice The signature is for another withdrawal of this account; see `withdrawNonce`.
    error WrongNonce(uint256 current, uint256 got);
    /// @notice `deadline` was the last second in which the signature counted.
    error Expired(uint256 deadline, uint256 timestamp);
    /// @notice A batch has at least one row.
    error NoRows();
    /// @notice `rows` is a whole number of rows, at least one.
    error RowsLength(uint256 length, uint256 rowLength);
    /// @notice The signature is for another generation of the channel.
    error WrongEpoch(uint24 current, uint24 got);
    /// @notice An exit of this channel is already running.
    error ExitRunning(uint40 exitAt);
    /// @notice No exit of this channel is running.
    error NoExit(address user, PodId podId);
    /// @notice The exit can be finished from `exitAt`.
    error ExitTooEarly(uint40 exitAt, uint256 timestamp);
    /// @notice The pod has no credit.
    error NothingToCollect(PodId podId);

    /// @notice Opens the account of `user` for `owner`. Anyone may send it.
    /// @param user Address of the user key.
    /// @param owner Who may withdraw, exit and close, for ever; not zero.
    /// @param signature `OpenAccount` by the user key.
    function open(address user, address owner, CompactSignature calldata signature) external;

    /// @notice Pulls `amount` of the token from the caller and adds what arrived to the free part
    /// of `user`. The account must be open.
    function deposit(address user, uint256 amount) external;

    /// @notice `deposit` with the caller's EIP-2612 permit instead of an allowance. A permit that
    /// somebody else has already sent to the token is fine.
    function depositWithPermit(address user, Permit calldata permit) external;

    /// @notice `deposit` paid by `authorization.from`, who signed an EIP-3009 authorization. Anyone
    /// may send it: the signed nonce names the user, so it cannot be turned to another account.
    function depositWithAuthorization(address user, Authorization calldata authorization) external;

    /// @notice `open` and `deposit`. An account already open for the same owner is fine.
    function openAndDeposit(
        address user,
        address owner,
        CompactSignature calldata signature,
        uint256 amount
    ) external;

    /// @notice `open` and `depositWithPermit`. An account already open for the same owner is fine.
    function openAndDepositWithPermit(
        address user,
        address owner,
        CompactSignature calldata signature,
        Permit calldata permit
    ) external;

    /// @notice `open` and `depositWithAuthorization`. An account already open for the same owner is
    /// fine.
    function openAndDepositWithAuthorization(
        address user,
        address owner,
        CompactSignature calldata signature,
        Authorization calldata authorization
    ) external;

    /// @notice Sends `amount` of the free part to the owner, at once. Owner only.
    function withdraw(address user, uint256 amount) external;

    /// @notice The same, to the owner too, with a `Withdraw` by the user key. Anyone may send it.
    /// @param nonce `withdrawNonce(user)`; each is taken once.
    /// @param deadline Unix seconds; the last second in which it counts.
    /// @param signature `Withdraw` by the user key.
    function withdrawFor(
        address user,
        uint96 amount,
        uint64 nonce,
        uint40 deadline,
        CompactSignature calldata signature
    ) external;

    /// @notice Reserves for the pod what users allocated. Anyone may send it. A row is skipped, and
    /// changes nothing, unless its epoch is the channel's, its deadline is not past, no exit runs,
    /// its total is above `locked` and the difference is free.
    /// @return moved Sum of the differences.
    /// @return skipped See `Locked`.
    function lock(PodId podId, LockRow[] calldata rows)
        external
        returns (uint256 moved, bytes memory skipped);

    /// @notice Credits to the pod `min(claimed, cap, locked) − already claimed` for each row.
    /// Anyone may send it. A row is skipped, and changes nothing, when that is not above zero, its
    /// epoch is not the channel's, or its voucher names another identity key than the batch's.
    /// @param rows 91 bytes each: `cap 12 ‖ claimed 12 ‖ epoch 3 ‖ voucher signature 64`.
    /// @param signature `Batch` over keccak256(rows) by an identity key of the pod.
    /// @return paid Sum of the credits.
    /// @return skipped See `Locked`.
    function settle(PodId podId, bytes calldata rows, CompactSignature calldata signature)
        external
        returns (uint256 paid, bytes memory skipped);

    /// @notice The same for claims whose enclave is gone: each row carries its own `Settlement`. A
    /// row is skipped also when its settlement is not by its identity key, or that key is not accepted
    /// for the pod.
    /// @return paid Sum of the credits.
    /// @return skipped See `Locked`.
    function settleReceipts(PodId podId, ReceiptRow[] calldata rows)
        external
        returns (uint256 paid, bytes memory skipped);

    /// @notice Starts the 48-hour exit from a pod. Owner only.
    function startExit(address user, PodId podId) external;

    /// @notice The same with a `StartExit` by the user key. Anyone may send it.
    function startExitFor(PodId podId, uint24 epoch, CompactSignature calldata signature) external;

    /// @notice Makes everything unclaimed free again. Anyone may send it, from `exitAt` on.
    function finishExit(address user, PodId podId) external;

    /// @notice Ends the channel at once: `min(cumulative, locked) − claimed` (at least zero) to the
    /// pod, the rest is free again. Owner only.
    /// @param cumulative The final claim.
    /// @param identitySignature `Close` by an identity key of the pod.
    function close(
        address user,
        PodId podId,
        uint96 cumulative,
        CompactSignature calldata identitySignature
    ) external;

    /// @notice The same with the same `Close` signed by the user key too. Anyone may send it.
    /// @param epoch The channel's epoch.
    /// @param userSignature `Close` by the user key.
    function closeFor(
        address user,
        PodId podId,
        uint24 epoch,
        uint96 cumulative,
        CompactSignature calldata identitySignature,
        CompactSignature calldata userSignature
    ) external;

    /// @notice Sends the pod's credit to its payout address. Anyone may send it.
    /// @return amount What was sent.
    function collect(PodId podId) external returns (uint256 amount);

    /// @notice Nonce of the EIP-3009 authorization that pays for `user`:
    /// `keccak256(abi.encode(keccak256("Deposit(address user,bytes32 salt)"), user, salt))`.
    function depositNonce(address user, bytes32 salt) external pure returns (bytes32);

    /// @notice How many `withdrawFor` of the account there were: the nonce of the next.
    function withdrawNonce(address user) external view returns (uint64);

    /// @notice The one token of this escrow.
    function TOKEN() external view returns (address);

    /// @notice The registry whose identity keys and payout addresses count.
    function REGISTRY() external view returns (IPodRegistry);

    /// @notice Seconds between the start and the end of an exit: 172,800 (48 hours).
    function EXIT_WINDOW() external view returns (uint256);

    /// @notice EIP-712 domain separator of this chain and escrow.
    function DOMAIN_SEPARATOR() external view returns (bytes32);

    /// @notice The account of a user key; all zero when it is not open.
    function account(address user) external view returns (Account memory);

    /// @notice The channel of a user key with a pod; all zero before the first lock.
    function channel(address user, PodId podId) external view returns (Channel memory);

    /// @notice The channels of many user keys with one pod, in the order asked.
    function channels(PodId podId, address[] calldata users)
        external
        view
        returns (Channel[] memory);

    /// @notice What `collect` would send, in the token's smallest unit.
    function credit(PodId podId) external view returns (uint256);
}
