// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier, Pck, Quote, TcbStatus, Tee} from "./IAttestationVerifier.sol";

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

/// @notice The enclave key a pod signs with, as a verified quote vouches for it. All zero while
/// none is attested.
/// @param identity Address of the enclave's secp256k1 identity key.
/// @param expiry Unix seconds; from this second on clients refuse the key.
/// @param tee What made the quote.
/// @param status See `TcbStatus`; one that `accepts` says yes to.
/// @param evaluationNumber TCB evaluation data number that the quote was judged by.
/// @param measurement See `Verdict.measurement`.
/// @param evidence See `Verdict.evidence`: names the quote that was verified.
struct AttestedKey {
    address identity;
    uint40 expiry;
    Tee tee;
    TcbStatus status;
    uint32 evaluationNumber;
    bytes32 measurement;
    bytes32 evidence;
}

/// @notice What a quote binds its enclave to, beside chain, registry and pod.
/// @param identity Address of the enclave's identity key; not zero.
/// @param modelSetRoot Root of the models it serves (spec/attestation.md).
/// @param policyDigest Digest of the policy it runs under (spec/wire.md).
struct Binding {
    address identity;
    bytes32 modelSetRoot;
    bytes32 policyDigest;
}

/// @notice Everything a client needs to know about one pod.
/// @param podId See `PodId`.
/// @param operator The only account that can change this pod.
/// @param payout Where `Escrow.collect` sends the pod's earnings.
/// @param url Base URL of the pod's host, `http://` or `https://`, at most 256 bytes.
/// @param offers 1..32 offers in the order that `offersHash` covers.
/// @param offersHash `keccak256(abi.encode(offers))`, the `termsHash` of allocations.
/// @param key The current identity key; all zero before the first `attest`.
/// @param updatedAtBlock Block of the last change of anything here but `key`.
/// @param updatedAt Unix seconds of that block.
/// @param retired The operator takes no new users; claims still settle.
struct Pod {
    PodId podId;
    address operator;
    address payout;
    string url;
    Offer[] offers;
    bytes32 offersHash;
    AttestedKey key;
    uint64 updatedAtBlock;
    uint40 updatedAt;
    bool retired;
}

/// @title The list of pods: who runs them, where they are, what they sell, which key they sign with
/// @notice A pod's key is recorded only with a quote that `VERIFIER` accepts and that binds the key
/// to this chain, this registry and this pod. What the operator says about itself (URL, offers,
/// payout) is not attested.
/// @dev No owner, no upgrade, no fee. Only a pod's operator changes its record.
interface IPodRegistry {
    /// @notice A pod was registered. It has no key yet.
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
    /// @notice The pod signs with `identity` until `expiry` (unix seconds); see `AttestedKey`.
    event Attested(
        PodId indexed podId,
        address indexed identity,
        bytes32 indexed machine,
        bytes32 measurement,
        bytes32 evidence,
        uint40 expiry,
        TcbStatus status
    );
    /// @notice The pod's key ended early, because its platform fell out. `goodUntil`: as
    /// `keyGoodUntil` now says.
    event Invalidated(PodId indexed podId, address indexed identity, uint256 goodUntil);
    /// @notice The operator lets this pod share a machine with others, or no longer.
    event SharingSet(PodId indexed podId, bytes32 indexed machine, bool shared);
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
    /// @notice The payout address is zero.
    error ZeroPayout();
    /// @notice The identity address is zero.
    error ZeroIdentity();
    /// @notice The quote binds other things: report data and nonce it should have, and has.
    error WrongReportData(bytes32 expected, bytes32 got, bytes32 nonce);
    /// @notice The platform's TCB status is not accepted here.
    error StatusNotAccepted(TcbStatus status);
    /// @notice The machine backs pod `holder` until `until` (unix seconds), and not both pods
    /// agreed to share it.
    error MachineTaken(bytes32 machine, bytes32 holder, uint256 until);
    /// @notice The pod has no such key that may still settle.
    error NoKey(PodId podId, address identity);
    /// @notice This is not the quote that the pod's key was attested with.
    error OtherEvidence(bytes32 expected, bytes32 got);
    /// @notice The platform has not fallen out: it is still accepted.
    error StillGood(PodId podId);
    /// @notice There is no contract at this address.
    error NoCode(address account);
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
    /// @return podId `podIdOf(msg.sender, salt)`.
    function register(bytes32 salt, string calldata url, address payout, Offer[] calldata offers)
        external
        returns (PodId podId);

    /// @notice Changes the base URL. Operator only.
    function updateUrl(PodId podId, string calldata url) external;

    /// @notice Replaces all offers. Operator only.
    function updateOffers(PodId podId, Offer[] calldata offers) external;

    /// @notice Changes where earnings go, including those already credited. Operator only.
    function updatePayout(PodId podId, address payout) external;

    /// @notice Sets or renews the pod's key: verifies the quote, remembers its PCK certificate, and
    /// checks that report data is SHA-256("phallama/1 report data" ‖ 0 ‖ chain id 8 ‖ registry 20 ‖
    /// pod id 32 ‖ identity 20 ‖ model-set root 32 ‖ policy digest 32) ‖ 32 zero bytes. The key is
    /// good until the earlier of `KEY_LIFE_MAX` from now and the verdict's expiry. A replaced key
    /// may still settle for `KEY_GRACE` seconds from now, never longer than it could before.
    /// Operator only.
    /// @param leaf PCK certificate in DER.
    function attest(
        PodId podId,
        Binding calldata binding,
        Quote calldata quote,
        bytes calldata leaf
    ) external;

    /// @notice As `attest`, for a machine whose PCK certificate is remembered: about half the gas.
    /// Operator only.
    function attestKnown(
        PodId podId,
        Binding calldata binding,
        Quote calldata quote,
        Pck calldata pck
    ) external;

    /// @notice Ends a key, current or former, whose platform has fallen out since it was attested:
    /// its certificate or its TCB level is revoked, or the status is no longer accepted under
    /// current collateral. Claims may settle for `KEY_GRACE_FALLEN` more seconds, and not at all if
    /// the machine's certificate or its TCB level is revoked. Anyone may call.
    /// @param identity The key.
    /// @param quote The quote that the key was attested with last.
    /// @param pck The PCK certificate of that quote.
    function invalidate(PodId podId, address identity, Quote calldata quote, Pck calldata pck)
        external;

    /// @notice Says whether this pod may share `machine` with other pods whose operators say so
    /// too. The pod that was there first holds it for as long as it renews its key; the others are
    /// guests, and need a holder that still agrees at each renewal. Operator only.
    function setSharing(PodId podId, bytes32 machine, bool shared) external;

    /// @notice Says that the pod takes no new users. Its claims still settle. Operator only.
    function retire(PodId podId) external;

    /// @notice Undoes `retire`. Operator only.
    function unretire(PodId podId) external;

    /// @notice What verifies the quotes.
    function VERIFIER() external view returns (IAttestationVerifier);

    /// @notice Whether a platform of this status may back a pod: up to date, or in need of software
    /// hardening or configuration. Out of date, at launch or now, and revoked may not.
    function accepts(TcbStatus status) external pure returns (bool);

    /// @notice The pod that a machine backs, as the first 26 bytes of its id, and until when (unix
    /// seconds) nobody else may use it without consent. Zero if none.
    function machineOf(bytes32 machine) external view returns (bytes26 holder, uint40 until);

    /// @notice Whether the pod's operator agreed to share the machine.
    function sharing(PodId podId, bytes32 machine) external view returns (bool);

    /// @notice Seconds for which a key may still settle after its platform fell out without being
    /// revoked: 86,400 (1 day).
    function KEY_GRACE_FALLEN() external view returns (uint256);

    /// @notice Seconds a key may live: 604,800 (7 days).
    function KEY_LIFE_MAX() external view returns (uint256);

    /// @notice Seconds for which an expired or replaced key may still settle: 604,800 (7 days).
    function KEY_GRACE() external view returns (uint256);

    /// @notice `keccak256(abi.encode(operator, salt))`.
    function podIdOf(address operator, bytes32 salt) external pure returns (PodId);

    /// @notice Unix seconds up to and including which settlements signed by `identity` are accepted
    /// for the pod: its expiry plus the grace, or the time of its replacement plus the grace if
    /// that is earlier, or what `invalidate` left it. Zero for a key the pod never had. Costs one
    /// storage read for the current key, two for others.
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
