// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier, Tee} from "../interfaces/IAttestationVerifier.sol";
import {Certificate, Certificates} from "./Certificates.sol";
import {CollateralReader} from "./CollateralReader.sol";
import {Crl} from "./Crl.sol";
import {P256} from "./P256.sol";
import {Issuer, RevokedSerials} from "./RevokedSerials.sol";
import {CollateralHeader} from "./TcbInfoJson.sol";
import {
    BIT,
    CaWord,
    CaWords,
    CollateralWord,
    CollateralWords,
    RootWord,
    RootWords
} from "./Words.sol";
import {SSTORE2} from "solady/utils/SSTORE2.sol";

/// @title The collateral of quotes, kept current by anyone
/// @notice One pinned root; the CAs and signers that it issued; revocation lists, TCB information
/// and QE identities that they signed. Newer replaces older, never the other way round.
/// @dev A verification reads one word for the root's list, one for the CA and one for each piece of
/// collateral, and the code that the last three point to. Whatever else is stored is for upserts
/// and views.
abstract contract Collateral is IAttestationVerifier {
    /// @dev Dates in unix seconds; all of a CA but its word, and its list.
    struct CaState {
        uint40 notBefore;
        uint40 notAfter;
        uint40 thisUpdate;
        uint40 nextUpdate;
        uint96 number;
    }

    struct SignerState {
        bytes32 x;
        bytes32 y;
        uint40 notBefore;
        uint40 notAfter;
        uint8 index;
    }

    struct RootList {
        uint40 thisUpdate;
        uint96 number;
    }

    struct Dates {
        uint40 issuedAt;
        uint40 nextUpdate;
    }

    /// @notice Most CAs and most signers that can be admitted.
    uint256 internal constant ADMITTED_MAX = 16;

    /// @inheritdoc IAttestationVerifier
    bytes32 public immutable ROOT;
    /// @inheritdoc IAttestationVerifier
    bytes32 public immutable ROOT_CERTIFICATE_SHA256;

    CollateralReader private immutable _READER;
    bytes32 private immutable _ROOT_X;
    bytes32 private immutable _ROOT_Y;
    bytes32 private immutable _ROOT_NAME;
    bytes32 private immutable _ROOT_KEY_ID;
    uint256 private immutable _ROOT_SERIAL;
    uint256 private immutable _ROOT_NOT_BEFORE;
    uint256 private immutable _ROOT_NOT_AFTER;

    RootWord private _root;
    RootList private _rootList;
    uint256[] private _caSerials;
    uint256[] private _signerSerials;
    /// Under its id, and under keccak256 of its key identifier, which is how certificates name it.
    mapping(bytes32 key => CaWord) private _cas;
    mapping(bytes32 ca => CaState) private _caStates;
    mapping(bytes32 signer => SignerState) private _signers;
    mapping(bytes32 key => CollateralWord) private _collateral;
    mapping(bytes32 key => Dates) private _dates;

    /// @param root The root certificate in DER, self-signed.
    constructor(bytes memory root) {
        require(P256.probe(), NoP256Precompile());
        _READER = new CollateralReader();
        Certificate memory c = _READER.certificate(root);
        Certificates.requireCa(c);
        require(c.issuerName == c.subjectName, WrongIssuer(c.subjectName, c.issuerName));
        require(P256.verify(c.tbsHash, c.r, c.s, c.x, c.y), BadSignature(Signed.Root));
        ROOT = _idOf(c);
        ROOT_CERTIFICATE_SHA256 = sha256(root);
        (_ROOT_X, _ROOT_Y, _ROOT_NAME, _ROOT_KEY_ID) = (c.x, c.y, c.subjectName, c.keyId);
        (_ROOT_SERIAL, _ROOT_NOT_BEFORE, _ROOT_NOT_AFTER) = (c.serial, c.notBefore, c.notAfter);
    }

    /// @inheritdoc IAttestationVerifier
    function admitCa(bytes calldata der) external returns (bytes32 id) {
        (RootWord root, Certificate memory c) = _issuedByRoot(der, Signed.Ca);
        Certificates.requireCa(c);
        id = _idOf(c);
        // The root issues no PCK certificates itself, and its list is not a CA's.
        require(id != ROOT, UnknownCa(id));
        CaState storage state = _caStates[id];
        CaWord word = _cas[id];
        // In place of a revoked certificate any other is good.
        bool newer = c.notAfter > state.notAfter || root.isCaRevoked(word.index());
        require(newer, NotNewer(Signed.Ca, state.notAfter, c.notAfter));
        if (word.exists()) {
            _requireSame(RevokedSerials.issuerOf(word.record()), c);
            _caSerials[word.index()] = c.serial;
            _root = root.withGoodCa(word.index());
        } else {
            word = _addCa(c);
        }
        (state.notBefore, state.notAfter) = (uint40(c.notBefore), uint40(c.notAfter));
        uint256 end = _earlier(state.nextUpdate, c.notAfter);
        _setCa(id, c.keyId, CaWords.pack(word.record(), end, word.places(), word.index()));
        emit CaAdmitted(id, c.serial, uint40(c.notAfter));
    }

    /// @inheritdoc IAttestationVerifier
    function admitSigner(bytes calldata der) external returns (bytes32 id) {
        (RootWord root, Certificate memory c) = _issuedByRoot(der, Signed.Signer);
        Certificates.requireEndEntity(c);
        id = _idOf(c);
        SignerState storage state = _signers[id];
        bool newer = c.notAfter > state.notAfter || root.isSignerRevoked(state.index);
        require(newer, NotNewer(Signed.Signer, state.notAfter, c.notAfter));
        if (state.notAfter != 0) {
            _signerSerials[state.index] = c.serial;
            _root = root.withGoodSigner(state.index);
        } else {
            state.index = uint8(_append(_signerSerials, c.serial, Signed.Signer));
            (state.x, state.y) = (c.x, c.y);
        }
        (state.notBefore, state.notAfter) = (uint40(c.notBefore), uint40(c.notAfter));
        emit SignerAdmitted(id, c.serial, uint40(c.notAfter));
    }

    /// @inheritdoc IAttestationVerifier
    function upsertCrl(bytes32 issuer, bytes calldata der) external {
        Crl memory crl = _READER.crl(der);
        if (issuer == ROOT) _upsertRootCrl(crl);
        else _upsertCaCrl(issuer, crl);
        emit CrlUpserted(
            issuer, crl.number, uint40(crl.thisUpdate), uint40(crl.nextUpdate), crl.serials.length
        );
    }

    /// @inheritdoc IAttestationVerifier
    function upsertTcbInfo(bytes calldata json, bytes calldata signature, bytes32 signer_)
        external
    {
        (CollateralHeader memory header, bytes memory packed) = _READER.tcbInfo(json);
        _requireSigned(Signed.TcbInfo, json, signature, signer_);
        _store(Signed.TcbInfo, header, packed, signer_);
        emit TcbInfoUpserted(
            header.tee,
            header.fmspc,
            header.evaluationNumber,
            header.issuedAt,
            header.nextUpdate,
            string(json)
        );
    }

    /// @inheritdoc IAttestationVerifier
    function upsertQeIdentity(bytes calldata json, bytes calldata signature, bytes32 signer_)
        external
    {
        (CollateralHeader memory header, bytes memory packed) = _READER.qeIdentity(json);
        _requireSigned(Signed.QeIdentity, json, signature, signer_);
        _store(Signed.QeIdentity, header, packed, signer_);
        emit QeIdentityUpserted(
            header.tee, header.evaluationNumber, header.issuedAt, header.nextUpdate, string(json)
        );
    }

    /// @inheritdoc IAttestationVerifier
    function ca(bytes32 id)
        external
        view
        returns (uint40 notAfter, uint40 crlNextUpdate, uint256 crlNumber, bool revoked)
    {
        CaState storage state = _caStates[id];
        (notAfter, crlNextUpdate, crlNumber) = (state.notAfter, state.nextUpdate, state.number);
        revoked = notAfter != 0 && _root.isCaRevoked(_cas[id].index());
    }

    /// @inheritdoc IAttestationVerifier
    function rootCrl() external view returns (uint40 nextUpdate, uint256 number) {
        return (_root.nextUpdate(), _rootList.number);
    }

    /// @inheritdoc IAttestationVerifier
    function signer(bytes32 id) external view returns (bool good, uint40 notAfter) {
        notAfter = _signers[id].notAfter;
        good = notAfter != 0 && !_root.isSignerRevoked(_signers[id].index);
    }

    /// @inheritdoc IAttestationVerifier
    function tcbInfo(Tee tee, bytes6 fmspc) external view returns (uint32, uint40, uint40) {
        return _stateOf(_keyOf(Signed.TcbInfo, tee, fmspc));
    }

    /// @inheritdoc IAttestationVerifier
    function qeIdentity(Tee tee) external view returns (uint32, uint40, uint40) {
        return _stateOf(_keyOf(Signed.QeIdentity, tee, 0));
    }

    /// @notice The root's list, if root and list are current and the root is not on its own list.
    /// @return root For the functions below.
    /// @return end Unix seconds: from this second on one of the two is not current.
    function _usableRoot() internal view returns (RootWord root, uint256 end) {
        root = _root;
        end = root.nextUpdate();
        require(end != 0, Missing(Signed.RootCrl, ROOT));
        if (block.timestamp >= end) {
            revert NotValidNow(Signed.RootCrl, _rootList.thisUpdate, end, block.timestamp);
        }
        require(!root.isRootRevoked(), Revoked(Signed.Root, _ROOT_SERIAL));
        _requireNow(Signed.Root, _ROOT_NOT_BEFORE, _ROOT_NOT_AFTER);
        end = _earlier(end, _ROOT_NOT_AFTER);
    }

    /// @notice A CA, if it and its list are current and the root has not revoked it.
    /// @dev `end()` of the word says until when both are current.
    /// @param key Its id, or keccak256 of its key identifier.
    function _usableCa(RootWord root, bytes32 key) internal view returns (CaWord word) {
        word = _cas[key];
        require(word.exists(), UnknownCa(key));
        uint256 index = word.index();
        if (root.isCaRevoked(index)) revert Revoked(Signed.Ca, _caSerials[index]);
        if (block.timestamp >= word.end()) _explainEnd(_idOf(_issuerOf(word)));
    }

    /// @notice Name and keys of a CA.
    function _issuerOf(CaWord word) internal view returns (Issuer memory) {
        return RevokedSerials.issuerOf(word.record());
    }

    /// @notice A PCK certificate of the CA must not be on its list.
    function _requireNotRevoked(CaWord word, uint256 serial) internal view {
        bool revoked = RevokedSerials.contains(word.record(), word.places(), serial);
        require(!revoked, Revoked(Signed.Pck, serial));
    }

    /// @notice TCB information of a processor family, if current and its signer is not revoked.
    /// @dev `end()` of the word says until when; `_packed` gives what `Tcb` reads.
    function _usableTcbInfo(RootWord root, Tee tee, bytes6 fmspc)
        internal
        view
        returns (CollateralWord)
    {
        return _usable(root, Signed.TcbInfo, _keyOf(Signed.TcbInfo, tee, fmspc));
    }

    /// @notice The identity of a quoting enclave, if current and its signer is not revoked.
    function _usableQeIdentity(RootWord root, Tee tee) internal view returns (CollateralWord) {
        return _usable(root, Signed.QeIdentity, _keyOf(Signed.QeIdentity, tee, 0));
    }

    /// @notice What the parser packed of stored collateral.
    function _packed(CollateralWord word) internal view returns (bytes memory) {
        return SSTORE2.read(word.record());
    }

    /// @notice `what` must be valid now: its last second is not.
    function _requireNow(Signed what, uint256 start, uint256 end) internal view {
        bool valid = start <= block.timestamp && block.timestamp < end;
        require(valid, NotValidNow(what, start, end, block.timestamp));
    }

    function _earlier(uint256 a, uint256 b) internal pure returns (uint256) {
        return a < b ? a : b;
    }

    /// @dev Form, issuer, dates and signature of a certificate that the root issued, and that it is
    /// not on the root's list. What its role needs is for the caller.
    function _issuedByRoot(bytes calldata der, Signed what)
        private
        view
        returns (RootWord root, Certificate memory c)
    {
        (root,) = _usableRoot();
        c = _READER.certificate(der);
        require(c.issuerName == _ROOT_NAME, WrongIssuer(_ROOT_NAME, c.issuerName));
        require(c.authorityKeyId == _ROOT_KEY_ID, WrongIssuer(_ROOT_KEY_ID, c.authorityKeyId));
        _requireNow(what, c.notBefore, c.notAfter);
        require(P256.verify(c.tbsHash, c.r, c.s, _ROOT_X, _ROOT_Y), BadSignature(what));
        bool revoked = RevokedSerials.contains(root.record(), root.places(), c.serial);
        require(!revoked, Revoked(what, c.serial));
    }

    function _addCa(Certificate memory c) private returns (CaWord) {
        // Two CAs with one key identifier could not be told apart by the certificates they issue.
        require(!_cas[c.keyId].exists(), BadCertificate(CertificateFault.NoKeyIdentifier));
        uint256 index = _append(_caSerials, c.serial, Signed.Ca);
        Issuer memory issuer = Issuer(c.x, c.y, c.subjectName, c.keyId);
        (address record,) = RevokedSerials.write(issuer, new uint256[](0));
        return CaWords.pack(record, 0, 0, index);
    }

    function _setCa(bytes32 id, bytes32 keyId, CaWord word) private {
        (_cas[id], _cas[keyId]) = (word, word);
    }

    function _append(uint256[] storage serials, uint256 serial, Signed what)
        private
        returns (uint256 index)
    {
        index = serials.length;
        require(index < ADMITTED_MAX, TooMany(what, ADMITTED_MAX));
        serials.push(serial);
    }

    /// @dev A renewed certificate of a CA: the list and the certificates that it issued stay good.
    function _requireSame(Issuer memory issuer, Certificate memory c) private pure {
        require(issuer.name == c.subjectName, WrongIssuer(issuer.name, c.subjectName));
        require(issuer.keyId == c.keyId, WrongIssuer(issuer.keyId, c.keyId));
    }

    function _upsertRootCrl(Crl memory crl) private {
        RootList storage list = _rootList;
        Issuer memory issuer = Issuer(_ROOT_X, _ROOT_Y, _ROOT_NAME, _ROOT_KEY_ID);
        _requireGoodCrl(Signed.RootCrl, crl, issuer, list.thisUpdate, list.number);
        address record;
        uint256 places;
        if (crl.serials.length != 0) (record, places) = RevokedSerials.write(issuer, crl.serials);
        _root = RootWords.pack(
            record,
            crl.nextUpdate,
            places,
            _revokedOf(_caSerials, record, places),
            _revokedOf(_signerSerials, record, places),
            RevokedSerials.contains(record, places, _ROOT_SERIAL)
        );
        (list.thisUpdate, list.number) = (uint40(crl.thisUpdate), uint96(crl.number));
    }

    function _upsertCaCrl(bytes32 id, Crl memory crl) private {
        CaState storage state = _caStates[id];
        // Not `_cas`, where it also has another name.
        require(state.notAfter != 0, UnknownCa(id));
        CaWord word = _cas[id];
        Issuer memory issuer = _issuerOf(word);
        _requireGoodCrl(Signed.PckCrl, crl, issuer, state.thisUpdate, state.number);
        (address record, uint256 places) = RevokedSerials.write(issuer, crl.serials);
        uint256 end = _earlier(crl.nextUpdate, state.notAfter);
        _setCa(id, issuer.keyId, CaWords.pack(record, end, places, word.index()));
        (state.thisUpdate, state.nextUpdate) = (uint40(crl.thisUpdate), uint40(crl.nextUpdate));
        state.number = uint96(crl.number);
    }

    /// @dev Intel gives every list the number 1, so dates decide what is newer.
    function _requireGoodCrl(
        Signed what,
        Crl memory crl,
        Issuer memory issuer,
        uint256 thisUpdate,
        uint256 number
    ) private view {
        require(crl.issuerName == issuer.name, WrongIssuer(issuer.name, crl.issuerName));
        require(crl.authorityKeyId == issuer.keyId, WrongIssuer(issuer.keyId, crl.authorityKeyId));
        _requireNow(what, crl.thisUpdate, crl.nextUpdate);
        require(crl.thisUpdate > thisUpdate, NotNewer(what, thisUpdate, crl.thisUpdate));
        require(crl.number >= number, NotNewer(what, number, crl.number));
        require(crl.serials.length <= RevokedSerials.MAX, TooMany(what, RevokedSerials.MAX));
        bool good = P256.verify(crl.tbsHash, crl.r, crl.s, issuer.x, issuer.y);
        require(good, BadSignature(what));
    }

    /// @dev Bit i is set if the serial at i is in the record.
    function _revokedOf(uint256[] storage serials, address record, uint256 places)
        private
        view
        returns (uint256 bits)
    {
        if (places == 0) return 0;
        for (uint256 i; i < serials.length; ++i) {
            if (RevokedSerials.contains(record, places, serials[i])) bits |= BIT << i;
        }
    }

    function _requireSigned(
        Signed what,
        bytes calldata json,
        bytes calldata signature,
        bytes32 signer_
    ) private view {
        SignerState storage state = _signers[signer_];
        require(state.notAfter != 0, UnknownSigner(signer_));
        require(signature.length == 64, BadSignature(what));
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        require(P256.verify(sha256(json), r, s, state.x, state.y), BadSignature(what));
    }

    function _store(
        Signed what,
        CollateralHeader memory header,
        bytes memory packed,
        bytes32 signer_
    ) private {
        (RootWord root,) = _usableRoot();
        SignerState storage state = _signers[signer_];
        uint256 index = state.index;
        if (root.isSignerRevoked(index)) revert Revoked(Signed.Signer, _signerSerials[index]);
        _requireNow(Signed.Signer, state.notBefore, state.notAfter);
        _requireNow(what, header.issuedAt, header.nextUpdate);
        bytes32 key = _keyOf(what, header.tee, header.fmspc);
        _requireNewer(root, what, key, header);
        _collateral[key] = CollateralWords.pack(
            SSTORE2.write(packed),
            _earlier(header.nextUpdate, state.notAfter),
            header.evaluationNumber,
            header.pceId,
            index
        );
        _dates[key] = Dates(header.issuedAt, header.nextUpdate);
    }

    /// @dev What a signer signed that is revoked by now holds nobody up.
    function _requireNewer(RootWord root, Signed what, bytes32 key, CollateralHeader memory header)
        private
        view
    {
        CollateralWord stored = _collateral[key];
        if (!stored.exists() || root.isSignerRevoked(stored.signerIndex())) return;
        uint256 issuedAt = _dates[key].issuedAt;
        require(header.issuedAt > issuedAt, NotNewer(what, issuedAt, header.issuedAt));
        uint256 number = stored.evaluationNumber();
        require(header.evaluationNumber >= number, NotNewer(what, number, header.evaluationNumber));
    }

    function _usable(RootWord root, Signed what, bytes32 key)
        private
        view
        returns (CollateralWord word)
    {
        word = _collateral[key];
        require(word.exists(), Missing(what, key));
        uint256 index = word.signerIndex();
        if (root.isSignerRevoked(index)) revert Revoked(Signed.Signer, _signerSerials[index]);
        uint256 end = word.end();
        if (block.timestamp >= end) {
            revert NotValidNow(what, _dates[key].issuedAt, end, block.timestamp);
        }
    }

    /// @dev Reverts with what about a CA is not current.
    function _explainEnd(bytes32 id) private view {
        CaState storage state = _caStates[id];
        require(state.nextUpdate != 0, Missing(Signed.PckCrl, id));
        _requireNow(Signed.Ca, state.notBefore, state.notAfter);
        revert NotValidNow(Signed.PckCrl, state.thisUpdate, state.nextUpdate, block.timestamp);
    }

    function _stateOf(bytes32 key)
        private
        view
        returns (uint32 evaluationNumber, uint40 issuedAt, uint40 nextUpdate)
    {
        Dates storage dates = _dates[key];
        return (_collateral[key].evaluationNumber(), dates.issuedAt, dates.nextUpdate);
    }

    /// @dev The FMSPC first, then kind and TEE in the last two bytes.
    function _keyOf(Signed what, Tee tee, bytes6 fmspc) private pure returns (bytes32) {
        return bytes32(fmspc) | bytes32(uint256(what) << 8 | uint256(tee));
    }

    /// @dev Of a CA; its key comes first in memory.
    function _idOf(Issuer memory issuer) internal pure returns (bytes32 id) {
        assembly ("memory-safe") {
            id := keccak256(issuer, 0x40)
        }
    }

    function _idOf(Certificate memory c) private pure returns (bytes32) {
        return keccak256(abi.encode(c.x, c.y));
    }
}
