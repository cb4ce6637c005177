// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    IAttestationVerifier as V,
    Pck,
    Quote,
    Tee
} from "../src/interfaces/IAttestationVerifier.sol";
import {deployVerifier} from "./Deploy.sol";
import {DerWriter} from "./DerWriter.sol";
import {Simulation} from "./Simulation.sol";
import {vm} from "./Vm.sol";

/// When a verdict ends: with whichever of eight things ends first, and before its last second.
contract VerifierDatesTest is Simulation {
    uint256 private constant START = 1_800_000_000;
    uint256 private constant END = START + 12 hours;
    uint256 private constant LONG = START + 30 days;
    /// What the vectors' certificates have: 2045-12-31T23:59:59Z.
    bytes private constant NOT_AFTER = "451231235959Z";
    /// 2020-01-01T00:00:00Z.
    bytes private constant NOT_BEFORE = "200101000000Z";
    uint256 private constant NOT_BEFORE_UNIX = 1_577_836_800;

    bytes private signerCertificate;
    uint256 private rootListEnd = LONG;
    uint256 private caListEnd = LONG;
    Terms private terms;
    uint256 private identityEnd = LONG;

    function setUp() public {
        vm.warp(START);
        string memory json = vm.readFile(string.concat(SIMULATED, "collateral.json"));
        rootCertificate = vm.parseJsonBytes(json, ".root");
        caCertificate = vm.parseJsonBytes(json, ".platform_ca");
        signerCertificate = vm.parseJsonBytes(json, ".tcb_signer");
        useMachine("machine.json");
        terms = goodTerms();
        terms.nextUpdate = LONG;
    }

    // Each of the eight ends a verdict; validity bounds are not inclusive (negative list).

    function test_negative_validityBoundsInclusive_rootList() public {
        rootListEnd = END;
        endsWith(V.Signed.RootCrl, START);
    }

    function test_negative_validityBoundsInclusive_caList() public {
        caListEnd = END;
        endsWith(V.Signed.PckCrl, START);
    }

    function test_negative_validityBoundsInclusive_tcbInfo() public {
        terms.nextUpdate = END;
        endsWith(V.Signed.TcbInfo, START);
    }

    function test_negative_validityBoundsInclusive_qeIdentity() public {
        identityEnd = END;
        endsWith(V.Signed.QeIdentity, START);
    }

    function test_negative_validityBoundsInclusive_pck() public {
        leaf = redated(leaf, NOT_AFTER, END, caScalar());
        endsWith(V.Signed.Pck, NOT_BEFORE_UNIX);
    }

    function test_negative_validityBoundsInclusive_ca() public {
        caCertificate = redated(caCertificate, NOT_AFTER, END, rootScalar());
        endsWith(V.Signed.Ca, NOT_BEFORE_UNIX);
    }

    /// What a signer signed ends with its certificate.
    function test_negative_validityBoundsInclusive_signer() public {
        signerCertificate = redated(signerCertificate, NOT_AFTER, END, rootScalar());
        endsWith(V.Signed.TcbInfo, START);
    }

    function test_negative_validityBoundsInclusive_root() public {
        rootCertificate = redated(rootCertificate, NOT_AFTER, END, rootScalar());
        endsWith(V.Signed.Root, NOT_BEFORE_UNIX);
    }

    function test_aPckBeginsWithItsFirstSecond() public {
        leaf = redated(leaf, NOT_BEFORE, END, caScalar());
        start();
        Quote memory quote = sgxQuote("data");
        vm.warp(END - 1);
        uint256 notAfter = 2_398_377_599;
        vm.expectRevert(notValidNow(V.Signed.Pck, END, notAfter, END - 1));
        verifier.verify(quote, leaf);
        vm.warp(END);
        vm.assertEq(verifier.verify(quote, leaf).expiry, LONG, "in its first second");
    }

    // What is missing.

    function test_missing_rootList() public {
        verifier = deployVerifier(rootCertificate);
        Quote memory quote = sgxQuote("data");
        bytes32 root = verifier.ROOT();
        vm.expectRevert(missing(V.Signed.RootCrl, root));
        verifier.verify(quote, leaf);
    }

    function test_missing_ca() public {
        verifier = deployVerifier(rootCertificate);
        bringRootCrl(new bytes[](0));
        Quote memory quote = sgxQuote("data");
        bytes32 keyId = keccak256(keyIdOf(caScalar()));
        vm.expectRevert(abi.encodeWithSelector(V.UnknownCa.selector, keyId));
        verifier.verify(quote, leaf);
    }

    function test_missing_caList() public {
        verifier = deployVerifier(rootCertificate);
        bringRootCrl(new bytes[](0));
        platformCa = verifier.admitCa(caCertificate);
        Quote memory quote = sgxQuote("data");
        vm.expectRevert(missing(V.Signed.PckCrl, platformCa));
        verifier.verify(quote, leaf);
    }

    function test_missing_tcbInfoAndQeIdentity() public {
        start();
        Quote memory quote = tdQuote(0, "data");
        // FMSPC, then kind and TEE.
        bytes32 key = bytes32(bytes6(0x00606a000000));
        vm.expectRevert(missing(V.Signed.TcbInfo, key | bytes32(uint256(0x0601))));
        verifier.verify(quote, leaf);
        bringTcbInfo(tcbInfoJson(Tee.Tdx, terms));
        vm.expectRevert(missing(V.Signed.QeIdentity, bytes32(uint256(0x0701))));
        verifier.verify(quote, leaf);
    }

    function test_missing_tcbInfoOfThePlatform() public {
        terms.pceId = 0x0001;
        start();
        Quote memory quote = sgxQuote("data");
        vm.expectRevert(missing(V.Signed.TcbInfo, 0));
        verifier.verify(quote, leaf);
        terms.pceId = 0x0000;
        terms.fmspc = 0x00606a000001;
        bytes32 key = bytes32(bytes6(0x00606a000000));
        start();
        vm.expectRevert(missing(V.Signed.TcbInfo, key | bytes32(uint256(0x0600))));
        verifier.verify(quote, leaf);
    }

    // Revocation.

    function test_revoked_pck() public {
        start();
        Quote memory quote = sgxQuote("data");
        verifier.admitPck(leaf);
        pck = pckOf(leaf);
        vm.warp(START + 1);
        bringCaCrl(one(serialOf(scalarOf(machine, "PCK"))));
        bytes memory expected = revoked(V.Signed.Pck, serialOf(scalarOf(machine, "PCK")));
        vm.expectRevert(expected);
        verifier.verify(quote, leaf);
        vm.expectRevert(expected);
        verifier.verifyKnown(quote, pck);
        vm.expectRevert(expected);
        verifier.admitPck(leaf);
        vm.expectRevert(expected);
        verifier.verifyAndAdmit(quote, leaf);
    }

    function test_revoked_caSignerAndRoot() public {
        uint256[3] memory scalars = [caScalar(), signerScalar(), rootScalar()];
        V.Signed[3] memory what = [V.Signed.Ca, V.Signed.Signer, V.Signed.Root];
        start();
        Quote memory quote = sgxQuote("data");
        for (uint256 i; i < 3; ++i) {
            vm.warp(START + 1 + i);
            bringRootCrl(one(serialOf(scalars[i])));
            vm.expectRevert(revoked(what[i], serialOf(scalars[i])));
            verifier.verify(quote, leaf);
        }
    }

    /// Negative list: issuer revocation checked with the wrong serial. A serial means something on
    /// the list of the issuer of its certificate, and nowhere else.
    function test_negative_issuerRevocationWithTheWrongSerial() public {
        start();
        Quote memory quote = sgxQuote("data");
        vm.warp(START + 1);
        bringRootCrl(one(serialOf(scalarOf(machine, "PCK"))));
        bytes[] memory serials = new bytes[](3);
        (serials[0], serials[1]) = (serialOf(caScalar()), serialOf(signerScalar()));
        serials[2] = serialOf(rootScalar());
        bringCaCrl(serials);
        verifier.verify(quote, leaf);
    }

    /// Negative list: a list that is not bound to its CA.
    function test_negative_crlNotBoundToItsCa() public {
        start();
        vm.warp(START + 1);
        uint256 other = scalarOf("phallama development root", "PCK processor CA");
        bytes memory der = crlOf(caCertificate, other, new bytes[](0));
        bytes32 expected = keccak256(keyIdOf(caScalar()));
        vm.expectRevert(
            abi.encodeWithSelector(V.WrongIssuer.selector, expected, keccak256(keyIdOf(other)))
        );
        verifier.upsertCrl(platformCa, der);
        der = crlOf(rootCertificate, rootScalar(), new bytes[](0));
        vm.expectRevert(
            abi.encodeWithSelector(
                V.WrongIssuer.selector,
                keccak256(DerWriter.subject(caCertificate)),
                keccak256(DerWriter.subject(rootCertificate))
            )
        );
        verifier.upsertCrl(platformCa, der);
        bytes memory tbs = DerWriter.signedPart(crlOf(caCertificate, caScalar(), new bytes[](0)));
        der = DerWriter.signed(tbs, other);
        vm.expectRevert(abi.encodeWithSelector(V.BadSignature.selector, V.Signed.PckCrl));
        verifier.upsertCrl(platformCa, der);
    }

    /// A CA has two names inside: only its id takes lists.
    function test_listsAreNotTakenUnderAKeyIdentifier() public {
        start();
        vm.warp(START + 1);
        bytes memory der = crlOf(caCertificate, caScalar(), new bytes[](0));
        bytes32 keyId = keccak256(keyIdOf(caScalar()));
        vm.expectRevert(abi.encodeWithSelector(V.UnknownCa.selector, keyId));
        verifier.upsertCrl(keyId, der);
    }

    /// Negative list: collateral rolled back.
    function test_negative_collateralRollback() public {
        start();
        bytes memory list = crlOf(caCertificate, caScalar(), new bytes[](0));
        string memory info = tcbInfoJson(Tee.Sgx, terms);
        string memory identity = qeIdentityJson(Tee.Sgx, terms);
        vm.warp(START + 1);
        terms.issuedAt = START + 1;
        bringCaCrl(one(serialOf(scalarOf(machine, "PCK"))));
        bring(Tee.Sgx, terms);
        vm.expectRevert(notNewer(V.Signed.PckCrl, START + 1, START));
        verifier.upsertCrl(platformCa, list);
        bytes memory signature = rawSignature(signerScalar(), bytes(info));
        vm.expectRevert(notNewer(V.Signed.TcbInfo, START + 1, START));
        verifier.upsertTcbInfo(bytes(info), signature, signer);
        signature = rawSignature(signerScalar(), bytes(identity));
        vm.expectRevert(notNewer(V.Signed.QeIdentity, START + 1, START));
        verifier.upsertQeIdentity(bytes(identity), signature, signer);
        terms.issuedAt = START + 2;
        terms.evaluationNumber = 16;
        vm.warp(START + 2);
        info = tcbInfoJson(Tee.Sgx, terms);
        signature = rawSignature(signerScalar(), bytes(info));
        vm.expectRevert(notNewer(V.Signed.TcbInfo, 17, 16));
        verifier.upsertTcbInfo(bytes(info), signature, signer);
    }

    // Helpers.

    /// Deploys and brings everything as it is set.
    function start() private {
        verifier = deployVerifier(rootCertificate);
        verifier.upsertCrl(verifier.ROOT(), listUntil(rootListEnd, rootCertificate, rootScalar()));
        platformCa = verifier.admitCa(caCertificate);
        signer = verifier.admitSigner(signerCertificate);
        verifier.upsertCrl(platformCa, listUntil(caListEnd, caCertificate, caScalar()));
        bringTcbInfo(tcbInfoJson(Tee.Sgx, terms));
        Terms memory ofQe = terms;
        ofQe.nextUpdate = identityEnd;
        bringQeIdentity(qeIdentityJson(Tee.Sgx, ofQe));
    }

    /// The verdict is good in its last second, and `what` is not valid in the next.
    function endsWith(V.Signed what, uint256 from) private {
        start();
        Quote memory quote = sgxQuote("data");
        vm.assertEq(verifier.verify(quote, leaf).expiry, END, "expiry");
        verifier.admitPck(leaf);
        pck = pckOf(leaf);
        vm.warp(END - 1);
        vm.assertEq(verifier.verify(quote, leaf).expiry, END, "in the last second");
        vm.assertEq(verifier.verifyKnown(quote, pck).expiry, END, "and when it is known");
        vm.warp(END);
        bytes memory expected = notValidNow(what, from, END, END);
        vm.expectRevert(expected);
        verifier.verify(quote, leaf);
        vm.expectRevert(expected);
        verifier.verifyKnown(quote, pck);
    }

    function listUntil(uint256 end, bytes memory certificate, uint256 scalar)
        private
        view
        returns (bytes memory)
    {
        DerWriter.Crl memory list;
        list.issuer = DerWriter.subject(certificate);
        list.keyId = keyIdOf(scalar);
        (list.number, list.thisUpdate, list.nextUpdate) = (1, block.timestamp, end);
        return DerWriter.crl(list, scalar);
    }

    /// The certificate with another date, signed again.
    function redated(bytes memory certificate, bytes memory date, uint256 time, uint256 scalar)
        private
        pure
        returns (bytes memory)
    {
        bytes memory tbs = DerWriter.signedPart(certificate);
        bytes memory other = slice(DerWriter.utcTime(time), 2, 15);
        return DerWriter.signed(DerWriter.replaced(tbs, date, other), scalar);
    }

    function one(bytes memory serial) private pure returns (bytes[] memory serials) {
        serials = new bytes[](1);
        serials[0] = serial;
    }

    function missing(V.Signed what, bytes32 key) private pure returns (bytes memory) {
        return abi.encodeWithSelector(V.Missing.selector, what, key);
    }

    function revoked(V.Signed what, bytes memory serial) private pure returns (bytes memory) {
        return abi.encodeWithSelector(V.Revoked.selector, what, uint160(bytes20(serial)));
    }

    function notNewer(V.Signed what, uint256 stored, uint256 offered)
        private
        pure
        returns (bytes memory)
    {
        return abi.encodeWithSelector(V.NotNewer.selector, what, stored, offered);
    }

    function notValidNow(V.Signed what, uint256 from, uint256 end, uint256 time)
        private
        pure
        returns (bytes memory)
    {
        return abi.encodeWithSelector(V.NotValidNow.selector, what, from, end, time);
    }
}
