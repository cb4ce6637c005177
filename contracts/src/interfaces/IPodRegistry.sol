// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice `keccak256(abi.encode(address operator, bytes32 salt))`: known before registration, so
/// that an enclave can bind it into its quote.
type PodId is bytes32;

/// @notice One model that a pod sells.
/// @param model 1..64 bytes of `[a-z0-9._:/-]`, e.g. `smollm2:135m`; unique within the pod.
/// @param weightsSha256 SHA-256 of the GGUF file.
/// @param inputPricePerMtok Smallest unit of the escrow's token per 1,000,000 prompt tokens.
/// @param outputPricePerMtok Smallest unit of the escrow's token per 1,000,000 completion tokens.
/// @param contextTokens Prompt and completion together; not zero.
/// @param maxOutputTokens Largest `max_tokens` of one request; 1..contextTokens.
struct Offer {
    string model;
    bytes32 weightsSha256;
    uint96 inputPricePerMtok;
    uint96 outputPricePerMtok;
    uint32 contextTokens;
    uint32 maxOutputTokens;
}

/// @notice The enclave key a pod signs with, and where the evidence for it is.
/// @param identity Address of the enclave's secp256k1 identity key; not zero.
/// @param expiry Unix seconds; in the future, at most 7 days ahead.
/// @param measurement What the operator says the enclave measures as (MRENCLAVE); the quote proves
/// it.
/// @param quoteHash SHA-256 of the quote; not zero.
/// @param evidenceUri Where the quote and its collateral can be fetched; 0..256 URI bytes. Empty:
/// at the pod.
struct IdentityKey {
    address identity;
    uint40 expiry;
    bytes32 measurement;
    bytes32 quoteHash;
    string evidenceUri;
}

/// @notice Everything a client needs to know about one pod.
/// @param podId See `PodId`.
/// @param operator The only account that can change this pod.
/// @param payout Where `Escrow.collect` sends the pod's earnings.
/// @param url Base URL of the pod's host, `http://` or `https://`, at most 256 bytes.
/// @param offers 1..32 offers in the order that `offersHash` covers.
/// @param offersHash `keccak256(abi.encode(offers))`, the `termsHash` of allocations.
/// @param key The current identity key.
/// @param updatedAtBlock Block of the last change of anything here.
/// @param updatedAt Unix seconds of that block.
/// @param retired The operator takes no new users; claims still settle.
struct Pod {
    PodId podId;
    address operator;
    address payout;
    string url;
    Offer[] offers;
    bytes32 offersHash;
    IdentityKey key;
    uint64 updatedAtBlock;
    uint40 updatedAt;
    bool retired;
}

/// @title The list of pods: who runs them, where they are, what they sell, which key they sign with
/// @notice QUOTES ARE NOT VERIFIED ON CHAIN YET. The registry stores the hash of a pod's quote and
/// the place to fetch it; an operator can write any key and any measurement here. Each client must
/// fetch the quote, check it against `quoteHash`, verify it and compare its report data with this
/// record before it trusts the key.
/// @dev No owner, no upgrade, no fee. Only a pod's operator changes its record.
interface IPodRegistry {
    /// @notice A pod was registered; `KeySet` follows in the same transaction.
    event Registered(
        PodId indexed podId,
        address indexed operator,
        address payout,
        string url,
        bytes32 offersHash
    );
    /// @notice The pod's base URL changed.
    event UrlUpdated(PodId indexed podId, string url);
    /// @notice The pod's offers changed; allocations made for the old hash no longer match.
    event OffersUpdated(PodId indexed podId, bytes32 offersHash);
    /// @notice Future collections go to `payout`.
    event PayoutUpdated(PodId indexed podId, address payout);
    /// @notice The pod signs with `identity` until `expiry` (unix seconds).
    event KeySet(
        PodId indexed podId,
        address indexed identity,
        uint40 expiry,
        bytes32 measurement,
        bytes32 quoteHash,
        string evidenceUri
    );
    /// @notice The pod takes no new users.
    event Retired(PodId indexed podId);
    /// @notice The pod takes users again.
    event Unretired(PodId indexed podId);

    /// @notice This operator has already used this salt.
    error AlreadyRegistered(PodId podId);
    /// @notice No pod has this id.
    error UnknownPod(PodId podId);
    /// @notice Only the operator may change a pod.
    error NotOperator(PodId podId, address operator, address caller);
    /// @notice The pod is already in the state asked for.
    error RetiredAlready(PodId podId, bool retired);
    /// @notice A URL is `http://` or `https://`, a host, and at most `max` bytes.
    error BadUrl(string url, uint256 max);
    /// @notice An evidence location is at most `max` bytes, all of them allowed in a URI.
    error BadEvidenceUri(string uri, uint256 max);
    /// @notice The payout address is zero.
    error ZeroPayout();
    /// @notice The identity address or the quote hash is zero.
    error IncompleteKey(address identity, bytes32 quoteHash);
    /// @notice A key's expiry (unix seconds) is after `earliest` and not after `latest`.
    error BadExpiry(uint256 expiry, uint256 earliest, uint256 latest);
    /// @notice A pod has 1 to `max` offers.
    error BadOfferCount(uint256 count, uint256 max);
    /// @notice A model name is 1 to `max` bytes of `[a-z0-9._:/-]`.
    error BadModelName(uint256 index, string model, uint256 max);
    /// @notice A model is offered twice.
    error DuplicateModel(uint256 index, string model);
    /// @notice An offer needs 1 ≤ maxOutputTokens ≤ contextTokens.
    error BadTokenLimits(uint256 index, uint32 contextTokens, uint32 maxOutputTokens);

    /// @notice Registers a pod of the caller.
    /// @param salt Chosen by the operator; one pod per salt.
    /// @param url See `Pod.url`.
    /// @param payout See `Pod.payout`.
    /// @param offers See `Offer`; 1..32.
    /// @param key See `IdentityKey`.
    /// @return podId `podIdOf(msg.sender, salt)`.
    function register(
        bytes32 salt,
        string calldata url,
        address payout,
        Offer[] calldata offers,
        IdentityKey calldata key
    ) external returns (PodId podId);

    /// @notice Changes the base URL. Operator only.
    function updateUrl(PodId podId, string calldata url) external;

    /// @notice Replaces all offers. Operator only.
    function updateOffers(PodId podId, Offer[] calldata offers) external;

    /// @notice Changes where earnings go, including those already credited. Operator only.
    function updatePayout(PodId podId, address payout) external;

    /// @notice Replaces or renews the identity key. A replaced key may still settle for `KEY_GRACE`
    /// seconds from now, never longer than it could before. Operator only.
    function setKey(PodId podId, IdentityKey calldata key) external;

    /// @notice Says that the pod takes no new users. Its claims still settle. Operator only.
    function retire(PodId podId) external;

    /// @notice Undoes `retire`. Operator only.
    function unretire(PodId podId) external;

    /// @notice Seconds a key may live: 604,800 (7 days).
    function KEY_LIFE_MAX() external view returns (uint256);

    /// @notice Seconds for which an expired or replaced key may still settle: 604,800 (7 days).
    function KEY_GRACE() external view returns (uint256);

    /// @notice `keccak256(abi.encode(operator, salt))`.
    function podIdOf(address operator, bytes32 salt) external pure returns (PodId);

    /// @notice Unix seconds up to and including which settlements signed by `identity` are accepted
    /// for the pod: its expiry plus the grace, or the time of its replacement plus the grace if
    /// that is earlier. Zero for a key the pod never had. Costs one storage read.
    function keyGoodUntil(PodId podId, address identity) external view returns (uint256);

    /// @notice Where the pod's earnings go.
    function payoutOf(PodId podId) external view returns (address);

    /// @notice Number of pods ever registered.
    function total() external view returns (uint256);

    /// @notice One pod.
    function pod(PodId podId) external view returns (Pod memory);

    /// @notice Pods in the order of registration.
    /// @param cursor Index of the first pod; 0 to begin, then `next` of the previous page.
    /// @param limit Largest number of pods to return.
    /// @return pods At most `limit` pods; empty past the end.
    /// @return next Cursor of the next page; equal to `count` after the last page.
    /// @return count `total()` at this block.
    function page(uint256 cursor, uint256 limit)
        external
        view
        returns (Pod[] memory pods, uint256 next, uint256 count);
}
