// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPodRegistry, IdentityKey, Offer, Pod, PodId} from "./interfaces/IPodRegistry.sol";

/// @title The list of pods
/// @notice See `IPodRegistry`. Quotes are not verified on chain yet: each client verifies them
/// itself.
contract PodRegistry is IPodRegistry {
    /// @inheritdoc IPodRegistry
    uint256 public constant KEY_LIFE_MAX = 7 days;
    /// @inheritdoc IPodRegistry
    uint256 public constant KEY_GRACE = 7 days;

    uint256 private constant URI_MAX_BYTES = 256;
    uint256 private constant MODEL_MAX_BYTES = 64;
    uint256 private constant OFFERS_MAX = 32;

    // Sets of ASCII characters: bit c is set when the character c is in the set.
    // `[a-z0-9._:/-]`
    uint256 private constant MODEL_CHARACTERS = 0x7fffffe8000000007ffe00000000000;
    // RFC 3986: 0x21..0x7e without `" < > \ ^ ` { | }`
    uint256 private constant URI_CHARACTERS = 0x47fffffeafffffffaffffffa00000000;

    mapping(PodId podId => Pod) private _pods;
    mapping(PodId podId => mapping(address identity => uint256)) private _goodUntil;
    PodId[] private _ids;

    modifier onlyOperator(PodId podId) {
        address operator = _known(podId).operator;
        require(msg.sender == operator, NotOperator(podId, operator, msg.sender));
        _;
    }

    /// @inheritdoc IPodRegistry
    function register(
        bytes32 salt,
        string calldata url,
        address payout,
        Offer[] calldata offers,
        IdentityKey calldata key
    ) external returns (PodId podId) {
        podId = podIdOf(msg.sender, salt);
        Pod storage record = _pods[podId];
        require(record.operator == address(0), AlreadyRegistered(podId));
        record.podId = podId;
        record.operator = msg.sender;
        _ids.push(podId);
        _setUrl(record, url);
        _setPayout(record, payout);
        _setOffers(record, offers);
        emit Registered(podId, msg.sender, payout, url, record.offersHash);
        _setKey(record, key);
        _touch(record);
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
    function setKey(PodId podId, IdentityKey calldata key) external onlyOperator(podId) {
        _setKey(_pods[podId], key);
        _touch(_pods[podId]);
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
    function keyGoodUntil(PodId podId, address identity) external view returns (uint256) {
        return _goodUntil[podId][identity];
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

    function _setKey(Pod storage record, IdentityKey calldata key) private {
        require(
            key.identity != address(0) && key.quoteHash != 0,
            IncompleteKey(key.identity, key.quoteHash)
        );
        uint256 latest = block.timestamp + KEY_LIFE_MAX;
        require(
            key.expiry > block.timestamp && key.expiry <= latest,
            BadExpiry(key.expiry, block.timestamp, latest)
        );
        require(_isUri(bytes(key.evidenceUri)), BadEvidenceUri(key.evidenceUri, URI_MAX_BYTES));
        PodId podId = record.podId;
        mapping(address => uint256) storage goodUntil = _goodUntil[podId];
        address replaced = record.key.identity;
        uint256 graceEnd = block.timestamp + KEY_GRACE;
        if (goodUntil[replaced] > graceEnd) goodUntil[replaced] = graceEnd;
        goodUntil[key.identity] = key.expiry + KEY_GRACE;
        record.key = key;
        emit KeySet(
            podId, key.identity, key.expiry, key.measurement, key.quoteHash, key.evidenceUri
        );
    }

    function _setRetired(PodId podId, bool retired) private {
        Pod storage record = _pods[podId];
        require(record.retired != retired, RetiredAlready(podId, retired));
        record.retired = retired;
        _touch(record);
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
