// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Collateral} from "./attestation/Collateral.sol";
import {P256} from "./attestation/P256.sol";
import {Issuance, PckCertificates} from "./attestation/PckCertificates.sol";
import {Quotes} from "./attestation/Quotes.sol";
import {Issuer} from "./attestation/RevokedSerials.sol";
import {Tcb} from "./attestation/Tcb.sol";
import {CaWord, CollateralWord, RootWord} from "./attestation/Words.sol";
import {
    IAttestationVerifier,
    Pck,
    Quote,
    TcbStatus,
    Tee,
    Verdict
} from "./interfaces/IAttestationVerifier.sol";

/// @title Intel DCAP quotes verified on chain
/// @notice See `IAttestationVerifier`.
/// @dev Steps in comments are those of the verifier's checklist in `spec/attestation.md`.
contract AttestationVerifier is Collateral {
    /// keccak256 of what a certificate says.
    mapping(bytes32 tbsHash => bytes32) private _pcks;

    /// @param root The root certificate in DER, pinned for good.
    constructor(bytes memory root) Collateral(root) {}

    /// @inheritdoc IAttestationVerifier
    function admitPck(bytes calldata leaf) external returns (Pck memory pck) {
        pck = _read(leaf);
        _standing(pck);
        _remember(pck);
    }

    /// @inheritdoc IAttestationVerifier
    function verifyAndAdmit(Quote calldata quote, bytes calldata leaf)
        external
        returns (Verdict memory verdict)
    {
        Pck memory pck = _read(leaf);
        verdict = _judge(quote, pck);
        _remember(pck);
    }

    /// @inheritdoc IAttestationVerifier
    function verify(Quote calldata quote, bytes calldata leaf)
        external
        view
        returns (Verdict memory)
    {
        return _judge(quote, _read(leaf));
    }

    /// @inheritdoc IAttestationVerifier
    function verifyKnown(Quote calldata quote, Pck calldata pck)
        external
        view
        returns (Verdict memory)
    {
        require(isKnown(pck), UnknownPck(pck.tbsHash));
        return _judge(quote, pck);
    }

    /// @inheritdoc IAttestationVerifier
    function isKnown(Pck calldata pck) public view returns (bool) {
        return _pcks[pck.tbsHash] == keccak256(abi.encode(pck));
    }

    function _remember(Pck memory pck) private {
        bytes32 said = keccak256(abi.encode(pck));
        if (_pcks[pck.tbsHash] == said) return;
        _pcks[pck.tbsHash] = said;
        emit PckAdmitted(pck.tbsHash, pck.machine, pck.fmspc);
    }

    /// Step 4 for a PCK certificate: who signed it. Whether it is valid now is for `_standing`.
    function _read(bytes calldata leaf) private view returns (Pck memory pck) {
        Issuance memory by;
        (pck, by) = PckCertificates.read(leaf);
        (RootWord root,) = _usableRoot();
        pck.issuer = _caWithKeyId(by.keyId);
        Issuer memory issuer = _issuerOf(_usableCa(root, pck.issuer));
        require(by.name == issuer.name, WrongIssuer(issuer.name, by.name));
        bool good = P256.verify(pck.tbsHash, by.r, by.s, issuer.x, issuer.y);
        require(good, BadSignature(Signed.Pck));
    }

    /// Steps 3 and 4 for the chain of a PCK certificate: dates and revocation.
    function _standing(Pck memory pck) private view returns (RootWord root, uint256 end) {
        (root, end) = _usableRoot();
        CaWord ca_ = _usableCa(root, pck.issuer);
        _requireNotRevoked(ca_, pck.serial);
        _requireNow(Signed.Pck, pck.notBefore, pck.notAfter);
        end = _earlier(_earlier(end, ca_.end()), pck.notAfter);
    }

    /// All steps but the reading of the certificate.
    function _judge(Quote calldata quote, Pck memory pck)
        private
        view
        returns (Verdict memory verdict)
    {
        (uint256 report, uint256 size) = Quotes.open(quote);
        Tee tee = Quotes.isSgx(size) ? Tee.Sgx : Tee.Tdx;
        (RootWord root, uint256 end) = _standing(pck);
        CollateralWord info = _usableTcbInfo(root, tee, pck.fmspc);
        require(info.pceId() == pck.pceId, Missing(Signed.TcbInfo, bytes32(pck.pceId)));
        CollateralWord identity = _usableQeIdentity(root, tee);
        verdict.evidence = _requireSignatures(quote, pck);
        Quotes.requireAttributes(report, size);
        TcbStatus ofQe = Tcb.quotingEnclave(_packed(identity), quote.auth[128:512]);
        verdict.status = _status(_packed(info), pck, report, size, ofQe);
        verdict.tee = tee;
        verdict.evaluationNumber =
            uint32(_earlier(info.evaluationNumber(), identity.evaluationNumber()));
        verdict.expiry = uint40(_earlier(end, _earlier(info.end(), identity.end())));
        verdict.measurement = Quotes.measurement(report, size);
        verdict.machine = pck.machine;
        (verdict.reportData, verdict.nonce) = Quotes.reportData(report, size);
    }

    /// Step 6: from the PCK over the QE report and the attestation key to the quote.
    function _requireSignatures(Quote calldata quote, Pck memory pck)
        private
        view
        returns (bytes32 evidence)
    {
        Quotes.Digests memory digests = Quotes.digests(quote, pck.tbsHash);
        (bytes32 r, bytes32 s) = Quotes.qeSignature(quote);
        bool good = P256.verify(digests.qeReport, r, s, pck.x, pck.y);
        require(good, BadSignature(Signed.QeReport));
        Quotes.requireKeyBound(quote);
        bytes32 x;
        bytes32 y;
        (r, s, x, y) = Quotes.signature(quote);
        require(P256.verify(digests.signed, r, s, x, y), BadSignature(Signed.Quote));
        return digests.evidence;
    }

    /// Step 8: the levels of platform, TDX module and quoting enclave, as one status.
    function _status(
        bytes memory packed,
        Pck memory pck,
        uint256 report,
        uint256 size,
        TcbStatus ofQe
    ) private pure returns (TcbStatus status) {
        if (Quotes.isSgx(size)) return _level(packed, pck, Tee.Sgx, 0, ofQe);
        bytes16 svn = Quotes.teeTcbSvn(report);
        Tcb.tdxModule(packed, svn, Quotes.tdxModule(report));
        status = _level(packed, pck, Tee.Tdx, svn, ofQe);
        if (Quotes.isTd15(size)) {
            svn = Quotes.teeTcbSvn2(report);
            status = Tcb.relaunch(status, _level(packed, pck, Tee.Tdx, svn, ofQe));
        }
    }

    /// The level of the platform at one TCB of its TDX module, together with the QE's.
    function _level(bytes memory packed, Pck memory pck, Tee tee, bytes16 svn, TcbStatus ofQe)
        private
        pure
        returns (TcbStatus status)
    {
        status = Tcb.converge(Tcb.platform(packed, tee, pck.cpuSvn, pck.pceSvn, svn), ofQe);
        require(status != TcbStatus.Revoked, TcbRevoked());
    }
}
