// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Quotes} from "./attestation/Quotes.sol";
import {
    IAttestationVerifier,
    Pck,
    Quote,
    TcbStatus,
    Verdict
} from "./interfaces/IAttestationVerifier.sol";
import {AttestedKey, Binding, IPodRegistry, Offer, Pod, PodId} from "./interfaces/IPodRegistry.sol";

/// @title The list of pods
/// @notice See `IPodRegistry`.
contract PodRegistry is IPodRegistry {
    /// @inheritdoc IPodRegistry
    IAttestationVerifier public immutable VERIFIER;
    /// @inheritdoc IPodRegistry
    uint256 public constant KEY_LIFE_MAX = 7 days;
    /// @inheritdoc IPodRegistry
    uint256 public constant KEY_GRACE = 7 days;
    /// @inheritdoc IPodRegistry
    uint256 public constant KEY_GRACE_FALLEN = 1 days;

    // Behind the selector, a pod's id and a binding.
    uint256 private constant FORWARDED_FROM = 4 + 4 * 32;
    uint256 private constant VERDICT_BYTES = 9 * 32;

    uint256 private constant URI_MAX_BYTES = 256;
    uint256 private constant MODEL_MAX_BYTES = 64;
    uint256 private constant OFFERS_MAX = 32;

    // Sets of ASCII characters: bit c is set when the character c is in the set.
    // `[a-z0-9._:/-]`
    uint256 private constant MODEL_CHARACTERS = 0x7fffffe8000000007ffe00000000000;
    // RFC 3986: 0x21..0x7e without `" < > \ ^ ` { | }`
    uint256 private constant URI_CHARACTERS = 0x47fffffeafffffffaffffffa00000000;

    /// One storage word. `holder`: first bytes of a pod's id.
    struct Tenancy {
        bytes26 holder;
        uint48 until;
    }

    /// One storage word. `evidence`: first bytes of `AttestedKey.evidence`.
    struct FormerKey {
        uint40 goodUntil;
        bytes27 evidence;
    }

    mapping(PodId podId => Pod) private _pods;
    mapping(PodId podId => mapping(address identity => FormerKey)) private _formers;
    mapping(bytes32 machine => Tenancy) private _tenancies;
    mapping(bytes26 podId => mapping(bytes32 machine => bool)) private _sharing;
    PodId[] private _ids;

    /// @param verifier Whose verdicts count, for good.
    constructor(IAttestationVerifier verifier) {
        require(address(verifier).code.length != 0, NoCode(address(verifier)));
        VERIFIER = verifier;
    }

    modifier onlyOperator(PodId podId) {
        address operator = _known(podId).operator;
        require(msg.sender == operator, NotOperator(podId, operator, msg.sender));
        _;
    }

    /// @inheritdoc IPodRegistry
    function register(bytes32 salt, string calldata url, address payout, Offer[] calldata offers)
        external
        returns (PodId podId)
    {
        podId = podIdOf(msg.sender, salt);
        Pod storage record = _pods[podId];
        require(record.operator == address(0), AlreadyRegistered(podId));
        record.podId = podId;
        record.operator = msg.sender;
        _ids.push(podId);
        _setUrl(record, url);
        _setPayout(record, payout);
        _setOffers(record, offers);
        _touch(record);
        emit Registered(podId, msg.sender, payout, url, record.offersHash);
    }

    /// @inheritdoc IPodRegistry
    function updateUrl(PodId podId, string calldata url) external onlyOperator(podId) {
        _setUrl(_pods[podId], url);
        _touch(_pods[podId]);
        emit UrlUpdated(podId, url);
    }

    /// @inheritdoc IPodRegistry
    function updateOffers(PodId podId, Offer[] calldata offers) external onlyOperator(podId) {
        _setOffers(_pods[podId], offers);
        _touch(_pods[podId]);
        emit OffersUpdated(podId, _pods[podId].offersHash);
    }

    /// @inheritdoc IPodRegistry
    function updatePayout(PodId podId, address payout) external onlyOperator(podId) {
        _setPayout(_pods[podId], payout);
        _touch(_pods[podId]);
        emit PayoutUpdated(podId, payout);
    }

    /// @inheritdoc IPodRegistry
    function attest(PodId podId, Binding calldata binding, Quote calldata, bytes calldata)
        external
        onlyOperator(podId)
    {
        _attest(podId, binding, _ask(IAttestationVerifier.verifyAndAdmit.selector, 2));
    }

    /// @inheritdoc IPodRegistry
    function attestKnown(PodId podId, Binding calldata binding, Quote calldata, Pck calldata)
        external
        onlyOperator(podId)
    {
        _attest(podId, binding, _ask(IAttestationVerifier.verifyKnown.selector, 1));
    }

    /// @inheritdoc IPodRegistry
    function invalidate(PodId podId, address identity, Quote calldata quote, Pck calldata pck)
        external
    {
        AttestedKey storage key = _known(podId).key;
        uint256 goodUntil = keyGoodUntil(podId, identity);
        require(block.timestamp <= goodUntil, NoKey(podId, identity));
        bool current = key.identity == identity;
        bytes32 expected = current ? key.evidence : bytes32(_formers[podId][identity].evidence);
        bytes32 evidence = Quotes.evidence(quote, pck.tbsHash);
        require(_head(evidence) == _head(expected), OtherEvidence(expected, evidence));
        uint256 end = _endOfFallen(podId, quote, pck);
        if (end < goodUntil) goodUntil = end;
        // forge-lint: disable-next-line(unsafe-typecast): a time of 40 bits, or an earlier one
        _formers[podId][identity] = FormerKey(uint40(goodUntil), _head(evidence));
        if (current) delete _pods[podId].key;
        emit Invalidated(podId, identity, goodUntil);
    }

    /// @inheritdoc IPodRegistry
    function setSharing(PodId podId, bytes32 machine, bool shared) external onlyOperator(podId) {
        _sharing[_holder(podId)][machine] = shared;
        emit SharingSet(podId, machine, shared);
    }

    /// @inheritdoc IPodRegistry
    function retire(PodId podId) external onlyOperator(podId) {
        _setRetired(podId, true);
        emit Retired(podId);
    }

    /// @inheritdoc IPodRegistry
    function unretire(PodId podId) external onlyOperator(podId) {
        _setRetired(podId, false);
        emit Unretired(podId);
    }

    /// @inheritdoc IPodRegistry
    function machineOf(bytes32 machine) external view returns (bytes26 holder, uint40 until) {
        Tenancy memory tenancy = _tenancies[machine];
        // forge-lint: disable-next-line(unsafe-typecast): made of 40 bits
        return (tenancy.holder, uint40(tenancy.until));
    }

    /// @inheritdoc IPodRegistry
    function sharing(PodId podId, bytes32 machine) external view returns (bool) {
        return _sharing[_holder(podId)][machine];
    }

    /// @inheritdoc IPodRegistry
    function payoutOf(PodId podId) external view returns (address) {
        return _known(podId).payout;
    }

    /// @inheritdoc IPodRegistry
    function total() external view returns (uint256) {
        return _ids.length;
    }

    /// @inheritdoc IPodRegistry
    function pod(PodId podId) external view returns (Pod memory) {
        return _known(podId);
    }

    /// @inheritdoc IPodRegistry
    function page(uint256 cursor, uint256 limit)
        external
        view
        returns (Pod[] memory pods, uint256 next, uint256 count)
    {
        count = _ids.length;
        if (cursor >= count) return (pods, count, count);
        uint256 size = count - cursor;
        if (size > limit) size = limit;
        pods = new Pod[](size);
        for (uint256 i; i < size; ++i) {
            pods[i] = _pods[_ids[cursor + i]];
        }
        next = cursor + size;
    }

    /// @inheritdoc IPodRegistry
    function keyGoodUntil(PodId podId, address identity) public view returns (uint256) {
        AttestedKey storage key = _pods[podId].key;
        // Identity and expiry are in the lowest bits of one word: read once, at a settlement's cost.
        uint256 word;
        assembly ("memory-safe") {
            word := sload(key.slot)
        }
        // forge-lint: disable-next-line(unsafe-typecast): what the word has there
        bool current = address(uint160(word)) == identity && identity != address(0);
        if (!current) return _formers[podId][identity].goodUntil;
        unchecked {
            // forge-lint: disable-next-line(unsafe-typecast): what the word has there
            return uint40(word >> 160) + KEY_GRACE;
        }
    }

    /// @inheritdoc IPodRegistry
    function accepts(TcbStatus status) public pure returns (bool) {
        return status <= TcbStatus.ConfigurationAndSWHardeningNeeded;
    }

    /// @inheritdoc IPodRegistry
    function podIdOf(address operator, bytes32 salt) public pure returns (PodId) {
        return PodId.wrap(keccak256(abi.encode(operator, salt)));
    }

    function _known(PodId podId) private view returns (Pod storage record) {
        record = _pods[podId];
        require(record.operator != address(0), UnknownPod(podId));
    }

    function _touch(Pod storage record) private {
        record.updatedAtBlock = uint64(block.number);
        record.updatedAt = uint40(block.timestamp);
    }

    function _setUrl(Pod storage record, string calldata url) private {
        bytes calldata raw = bytes(url);
        uint256 scheme = _startsWith(raw, "https://") ? 8 : _startsWith(raw, "http://") ? 7 : 0;
        bool good = scheme != 0 && raw.length > scheme && raw[scheme] != "/" && _isUri(raw);
        require(good, BadUrl(url, URI_MAX_BYTES));
        record.url = url;
    }

    function _setPayout(Pod storage record, address payout) private {
        require(payout != address(0), ZeroPayout());
        record.payout = payout;
    }

    function _setOffers(Pod storage record, Offer[] calldata offers) private {
        uint256 count = offers.length;
        require(count != 0 && count <= OFFERS_MAX, BadOfferCount(count, OFFERS_MAX));
        delete record.offers;
        bytes32[] memory names = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            _checkOffer(offers[i], i);
            names[i] = keccak256(bytes(offers[i].model));
            for (uint256 j; j < i; ++j) {
                require(names[j] != names[i], DuplicateModel(i, offers[i].model));
            }
            record.offers.push(offers[i]);
        }
        record.offersHash = keccak256(abi.encode(offers));
    }

    function _checkOffer(Offer calldata offer, uint256 index) private pure {
        bytes calldata model = bytes(offer.model);
        bool named =
            model.length != 0 && model.length <= MODEL_MAX_BYTES && _allIn(model, MODEL_CHARACTERS);
        require(named, BadModelName(index, offer.model, MODEL_MAX_BYTES));
        require(
            offer.maxOutputTokens != 0 && offer.maxOutputTokens <= offer.contextTokens,
            BadTokenLimits(index, offer.contextTokens, offer.maxOutputTokens)
        );
    }

    /// Calls the verifier with the arguments that follow `podId` and `binding`, copied as they are:
    /// encoding them anew would cost 1,000 to 2,000 gas. Only the offsets among them change, the first
    /// `offsets` words; whether they make sense is for the verifier to say.
    function _ask(bytes4 selector, uint256 offsets) private returns (Verdict memory verdict) {
        address verifier = address(VERIFIER);
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, selector)
            let head := add(data, 4)
            let size := sub(calldatasize(), FORWARDED_FROM)
            calldatacopy(head, FORWARDED_FROM, size)
            for { let end := add(head, shl(5, offsets)) } lt(head, end) { head := add(head, 0x20) }
            {
                mstore(head, sub(mload(head), sub(FORWARDED_FROM, 4)))
            }
            // A verdict lies in memory as it is encoded.
            if iszero(call(gas(), verifier, 0, data, add(size, 4), verdict, VERDICT_BYTES)) {
                returndatacopy(data, 0, returndatasize())
                revert(data, returndatasize())
            }
        }
    }

    /// Everything about a verdict that is the registry's to judge, then the record.
    function _attest(PodId podId, Binding calldata binding, Verdict memory verdict) private {
        address identity = binding.identity;
        require(identity != address(0), ZeroIdentity());
        bytes32 expected = _reportData(podId, binding);
        require(
            verdict.reportData == expected && verdict.nonce == 0,
            WrongReportData(expected, verdict.reportData, verdict.nonce)
        );
        require(accepts(verdict.status), StatusNotAccepted(verdict.status));
        // forge-lint: disable-next-line(unsafe-typecast): seconds fit in 40 bits for 34,000 years
        uint40 expiry = uint40(block.timestamp + KEY_LIFE_MAX);
        if (verdict.expiry < expiry) expiry = verdict.expiry;
        _occupy(verdict.machine, podId, expiry);
        _setKey(podId, identity, expiry, verdict);
        emit Attested(
            podId,
            identity,
            verdict.machine,
            verdict.measurement,
            verdict.evidence,
            expiry,
            verdict.status
        );
    }

    /// Writes each word of the record once.
    function _setKey(PodId podId, address identity, uint40 expiry, Verdict memory verdict) private {
        AttestedKey storage key = _pods[podId].key;
        address former = key.identity;
        if (former != identity && former != address(0)) {
            uint256 goodUntil = key.expiry + KEY_GRACE;
            uint256 graceEnd = block.timestamp + KEY_GRACE;
            if (graceEnd < goodUntil) goodUntil = graceEnd;
            // forge-lint: disable-next-line(unsafe-typecast): seconds fit in 40 bits
            _formers[podId][former] = FormerKey(uint40(goodUntil), _head(key.evidence));
        }
        uint256 word = uint160(identity) | uint256(expiry) << 160 | uint256(verdict.tee) << 200
            | uint256(verdict.status) << 208 | uint256(verdict.evaluationNumber) << 216;
        assembly ("memory-safe") {
            sstore(key.slot, word)
        }
        (key.measurement, key.evidence) = (verdict.measurement, verdict.evidence);
    }

    /// One machine backs one pod, unless both agreed to share it. A guest changes nothing: the
    /// machine stays the holder's for as long as the holder renews.
    function _occupy(bytes32 machine, PodId podId, uint40 until) private {
        Tenancy memory current = _tenancies[machine];
        bytes26 holder = _holder(podId);
        bytes26 other = current.holder;
        if (block.timestamp < current.until && other != holder) {
            bool agreed = _sharing[other][machine] && _sharing[holder][machine];
            require(agreed, MachineTaken(machine, other, current.until));
            return;
        }
        _tenancies[machine] = Tenancy(holder, until);
    }

    /// Until when a key may settle whose quote no longer verifies, or is no longer accepted.
    function _endOfFallen(PodId podId, Quote calldata quote, Pck calldata pck)
        private
        view
        returns (uint256)
    {
        try VERIFIER.verifyKnown(quote, pck) returns (Verdict memory verdict) {
            require(!accepts(verdict.status), StillGood(podId));
        } catch (bytes memory reason) {
            // forge-lint: disable-next-line(unsafe-typecast): pads what is shorter with zeros
            bytes4 selector = bytes4(reason);
            if (_isRevocation(selector, reason)) return block.timestamp - 1;
            if (!_isFall(selector, reason)) _revertWith(reason);
        }
        return block.timestamp + KEY_GRACE_FALLEN;
    }

    function _setRetired(PodId podId, bool retired) private {
        Pod storage record = _pods[podId];
        require(record.retired != retired, RetiredAlready(podId, retired));
        record.retired = retired;
        _touch(record);
    }

    function _reportData(PodId podId, Binding calldata binding) private view returns (bytes32) {
        return sha256(
            abi.encodePacked(
                "phallama/1 report data\x00",
                uint64(block.chainid),
                address(this),
                podId,
                binding.identity,
                binding.modelSetRoot,
                binding.policyDigest
            )
        );
    }

    /// What is kept of the evidence of a former key.
    function _head(bytes32 evidence) private pure returns (bytes27) {
        // forge-lint: disable-next-line(unsafe-typecast): shortened on purpose
        return bytes27(evidence);
    }

    function _holder(PodId podId) private pure returns (bytes26) {
        return bytes26(PodId.unwrap(podId));
    }

    /// The platform's certificate or its TCB level is revoked.
    function _isRevocation(bytes4 selector, bytes memory reason) private pure returns (bool) {
        return selector == IAttestationVerifier.TcbRevoked.selector
            || _isRevoked(IAttestationVerifier.Signed.Pck, selector, reason);
    }

    /// The platform is not one that Intel's current collateral knows as good. A CA may be revoked
    /// because it was issued again, so that says nothing against those below it.
    function _isFall(bytes4 selector, bytes memory reason) private pure returns (bool) {
        return selector == IAttestationVerifier.NoTcbLevel.selector
            || selector == IAttestationVerifier.NoQeLevel.selector
            || selector == IAttestationVerifier.NoTdxModuleLevel.selector
            || selector == IAttestationVerifier.WrongQuotingEnclave.selector
            || selector == IAttestationVerifier.WrongTdxModule.selector
            || _isRevoked(IAttestationVerifier.Signed.Ca, selector, reason);
    }

    function _isRevoked(IAttestationVerifier.Signed what, bytes4 selector, bytes memory reason)
        private
        pure
        returns (bool)
    {
        uint256 first;
        assembly ("memory-safe") {
            first := mload(add(reason, 0x24))
        }
        return selector == IAttestationVerifier.Revoked.selector && first == uint256(what);
    }

    function _revertWith(bytes memory reason) private pure {
        assembly ("memory-safe") {
            revert(add(reason, 0x20), mload(reason))
        }
    }

    function _startsWith(bytes calldata text, bytes memory prefix) private pure returns (bool) {
        return text.length >= prefix.length && keccak256(text[:prefix.length]) == keccak256(prefix);
    }

    function _isUri(bytes calldata text) private pure returns (bool) {
        return text.length <= URI_MAX_BYTES && _allIn(text, URI_CHARACTERS);
    }

    function _allIn(bytes calldata text, uint256 characters) private pure returns (bool) {
        for (uint256 i; i < text.length; ++i) {
            if ((characters >> uint8(text[i])) & 1 == 0) return false;
        }
        return true;
    }
}
