// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier as V, Quote, Tee} from "../../src/interfaces/IAttestationVerifier.sol";
import {vm} from "../Vm.sol";
import {Authorities} from "./Authorities.sol";
import {CertificateWriter as Writer} from "./CertificateWriter.sol";

/// TCB information and QE identities, one thing wrong at a time.
contract CollateralInformationTest is Authorities {
    using Writer for Writer.Draft;

    bytes6 private constant FMSPC = 0x00606a000000;

    // What is stored.

    function test_upsertTcbInfo() public {
        Terms memory terms = goodTerms();
        terms.evaluationNumber = 18;
        string memory json = tcbInfoJson(Tee.Tdx, terms);
        tcbInfoIs(Tee.Tdx, FMSPC, 0, 0, 0);
        bytes memory signature = rawSignature(signerScalar(), bytes(json));
        vm.expectEmit(address(verifier));
        emit V.TcbInfoUpserted(
            Tee.Tdx, FMSPC, 18, uint40(terms.issuedAt), uint40(terms.nextUpdate), json
        );
        verifier.upsertTcbInfo(bytes(json), signature, signer);
        tcbInfoIs(Tee.Tdx, FMSPC, 18, terms.issuedAt, terms.nextUpdate);
    }

    function test_upsertQeIdentity() public {
        Terms memory terms = goodTerms();
        terms.evaluationNumber = 18;
        string memory json = qeIdentityJson(Tee.Tdx, terms);
        qeIdentityIs(Tee.Tdx, 0, 0, 0);
        bytes memory signature = rawSignature(signerScalar(), bytes(json));
        vm.expectEmit(address(verifier));
        emit V.QeIdentityUpserted(
            Tee.Tdx, 18, uint40(terms.issuedAt), uint40(terms.nextUpdate), json
        );
        verifier.upsertQeIdentity(bytes(json), signature, signer);
        qeIdentityIs(Tee.Tdx, 18, terms.issuedAt, terms.nextUpdate);
    }

    function test_kindsTeesAndFamiliesAreStoredApart() public {
        Terms memory terms = goodTerms();
        terms.evaluationNumber = 30;
        terms.fmspc = 0x00606a000001;
        bringTcbInfo(tcbInfoJson(Tee.Sgx, terms));
        terms.evaluationNumber = 31;
        bringTcbInfo(tcbInfoJson(Tee.Tdx, terms));
        terms.evaluationNumber = 32;
        bringQeIdentity(qeIdentityJson(Tee.Tdx, terms));
        tcbInfoIs(Tee.Sgx, FMSPC, 17, START, START + COLLATERAL_LIFE);
        tcbInfoIs(Tee.Tdx, FMSPC, 0, 0, 0);
        tcbInfoIs(Tee.Sgx, terms.fmspc, 30, terms.issuedAt, terms.nextUpdate);
        tcbInfoIs(Tee.Tdx, terms.fmspc, 31, terms.issuedAt, terms.nextUpdate);
        qeIdentityIs(Tee.Sgx, 17, START, START + COLLATERAL_LIFE);
        qeIdentityIs(Tee.Tdx, 32, terms.issuedAt, terms.nextUpdate);
    }

    // One thing wrong.

    function test_upsert_needsAnAdmittedSigner() public {
        bytes32 id = Writer.idOf(otherSigner());
        bytes memory why = abi.encodeWithSelector(V.UnknownSigner.selector, id);
        refused(goodTerms(), id, otherSigner().scalar, why);
        why = abi.encodeWithSelector(V.UnknownSigner.selector, platformCa);
        refused(goodTerms(), platformCa, caScalar(), why);
    }

    function test_upsert_needsTheSignersSignature() public {
        string memory json = tcbInfoJson(Tee.Sgx, goodTerms());
        bytes memory signature = rawSignature(caScalar(), bytes(json));
        infoRefused(json, signature, badSignatureOf(V.Signed.TcbInfo));
        signature = rawSignature(signerScalar(), bytes(json));
        infoRefused(json, slice(signature, 0, 63), badSignatureOf(V.Signed.TcbInfo));
        bytes memory more = bytes.concat(signature, hex"00");
        infoRefused(json, more, badSignatureOf(V.Signed.TcbInfo));
        infoRefused(json, "", badSignatureOf(V.Signed.TcbInfo));
        // Of other terms.
        Terms memory terms = goodTerms();
        terms.evaluationNumber = 18;
        json = tcbInfoJson(Tee.Sgx, terms);
        infoRefused(json, signature, badSignatureOf(V.Signed.TcbInfo));
        json = qeIdentityJson(Tee.Sgx, goodTerms());
        signature = rawSignature(caScalar(), bytes(json));
        vm.expectRevert(badSignatureOf(V.Signed.QeIdentity));
        verifier.upsertQeIdentity(bytes(json), signature, signer);
    }

    function test_upsert_refusesARevokedSigner() public {
        bringRootCrl(one(serialOf(signerScalar())));
        bytes memory why = revokedError(V.Signed.Signer, serialOf(signerScalar()));
        refused(goodTerms(), signer, signerScalar(), why);
        vm.warp(START + 2);
        bringRootCrl(new bytes[](0));
        bring(Tee.Sgx, goodTerms());
    }

    function test_upsert_needsACurrentSigner() public {
        Writer.Draft memory draft = signerDraft(otherSigner());
        draft.validity = Writer.validity(ISSUED, START + 10);
        bytes32 id = verifier.admitSigner(draft.finish());
        vm.warp(START + 10);
        bytes memory why = notValidNow(V.Signed.Signer, ISSUED, START + 10);
        refused(goodTerms(), id, otherSigner().scalar, why);
        vm.warp(START + 9);
        bringAs(goodTerms(), id, otherSigner().scalar);
    }

    function test_upsert_needsACurrentRootList() public {
        vm.warp(START + COLLATERAL_LIFE);
        bytes memory why = notValidNow(V.Signed.RootCrl, START, START + COLLATERAL_LIFE);
        refused(goodTerms(), signer, signerScalar(), why);
    }

    function test_upsert_needsInformationThatIsValidNow() public {
        Terms memory terms = goodTerms();
        (terms.issuedAt, terms.nextUpdate) = (START + 10, START + 20);
        uint64[2] memory times = [uint64(START + 9), uint64(START + 20)];
        for (uint256 i; i < 2; ++i) {
            vm.warp(times[i]);
            infoRefused(terms, notValidNow(V.Signed.TcbInfo, START + 10, START + 20));
            identityRefused(terms, notValidNow(V.Signed.QeIdentity, START + 10, START + 20));
        }
        vm.warp(START + 19);
        bring(Tee.Sgx, terms);
    }

    function test_negative_rollbackOfInformation() public {
        vm.warp(START + 10);
        bring(Tee.Sgx, goodTerms());
        vm.warp(START + 20);
        for (uint256 back; back < 2; ++back) {
            Terms memory older = goodTerms();
            older.issuedAt = START + 10 - back;
            older.evaluationNumber = 18;
            infoRefused(older, notNewer(V.Signed.TcbInfo, START + 10, older.issuedAt));
            identityRefused(older, notNewer(V.Signed.QeIdentity, START + 10, older.issuedAt));
        }
        Terms memory lower = goodTerms();
        lower.evaluationNumber = 16;
        infoRefused(lower, notNewer(V.Signed.TcbInfo, 17, 16));
        identityRefused(lower, notNewer(V.Signed.QeIdentity, 17, 16));
        bring(Tee.Sgx, goodTerms());
    }

    /// A signer whose key was stolen cannot shut out the next one.
    function test_whatARevokedSignerSignedMayBeReplacedByAnything() public {
        Terms memory high = goodTerms();
        high.evaluationNumber = type(uint32).max;
        bring(Tee.Sgx, high);
        bytes32 id = verifier.admitSigner(signerDraft(otherSigner()).finish());
        Terms memory usual = goodTerms();
        usual.issuedAt = START;
        bytes memory why = notNewer(V.Signed.TcbInfo, START + 1, START);
        refused(usual, id, otherSigner().scalar, why);
        bringRootCrl(one(serialOf(signerScalar())));
        bringAs(usual, id, otherSigner().scalar);
        tcbInfoIs(Tee.Sgx, FMSPC, 17, START, usual.nextUpdate);
    }

    // What a quote needs.

    function test_quote_needsInformation() public {
        Quote memory quote = tdQuote(0, 0);
        quoteRefused(quote, missing(V.Signed.TcbInfo, Tee.Tdx, FMSPC));
        bringTcbInfo(tcbInfoJson(Tee.Tdx, goodTerms()));
        quoteRefused(quote, missing(V.Signed.QeIdentity, Tee.Tdx, 0));
        bringQeIdentity(qeIdentityJson(Tee.Tdx, goodTerms()));
        verifier.verify(quote, leaf);
    }

    function test_quote_needsCurrentInformation() public {
        Quote memory quote = sgxQuote(0);
        bringLongLists();
        uint256 end = START + COLLATERAL_LIFE;
        vm.warp(end - 1);
        verifier.verify(quote, leaf);
        vm.warp(end);
        quoteRefused(quote, notValidNow(V.Signed.TcbInfo, START, end));
        bringTcbInfo(tcbInfoJson(Tee.Sgx, goodTerms()));
        quoteRefused(quote, notValidNow(V.Signed.QeIdentity, START, end));
        bringQeIdentity(qeIdentityJson(Tee.Sgx, goodTerms()));
        verifier.verify(quote, leaf);
    }

    function test_quote_refusesInformationOfARevokedSigner() public {
        Quote memory quote = sgxQuote(0);
        bringRootCrl(one(serialOf(signerScalar())));
        quoteRefused(quote, revokedError(V.Signed.Signer, serialOf(signerScalar())));
        bytes32 id = verifier.admitSigner(signerDraft(otherSigner()).finish());
        bringAs(goodTerms(), id, otherSigner().scalar);
        verifier.verify(quote, leaf);
    }

    /// Information is good no longer than the certificate of who signed it.
    function test_quote_refusesInformationOfAnExpiredSigner() public {
        Writer.Draft memory draft = signerDraft(otherSigner());
        draft.validity = Writer.validity(ISSUED, START + 100);
        bytes32 id = verifier.admitSigner(draft.finish());
        bringAs(goodTerms(), id, otherSigner().scalar);
        Quote memory quote = sgxQuote(0);
        vm.assertEq(verifier.verify(quote, leaf).expiry, START + 100, "expiry");
        vm.warp(START + 100);
        quoteRefused(quote, notValidNow(V.Signed.TcbInfo, START + 1, START + 100));
    }

    // Short forms.

    function bringAs(Terms memory terms, bytes32 id, uint256 scalar) private {
        bytes memory json = bytes(tcbInfoJson(Tee.Sgx, terms));
        verifier.upsertTcbInfo(json, rawSignature(scalar, json), id);
        json = bytes(qeIdentityJson(Tee.Sgx, terms));
        verifier.upsertQeIdentity(json, rawSignature(scalar, json), id);
    }

    function refused(Terms memory terms, bytes32 id, uint256 scalar, bytes memory why) private {
        bytes memory json = bytes(tcbInfoJson(Tee.Sgx, terms));
        bytes memory signature = rawSignature(scalar, json);
        vm.expectRevert(why);
        verifier.upsertTcbInfo(json, signature, id);
    }

    function infoRefused(Terms memory terms, bytes memory why) private {
        refused(terms, signer, signerScalar(), why);
    }

    function infoRefused(string memory json, bytes memory signature, bytes memory why) private {
        vm.expectRevert(why);
        verifier.upsertTcbInfo(bytes(json), signature, signer);
    }

    function identityRefused(Terms memory terms, bytes memory why) private {
        bytes memory json = bytes(qeIdentityJson(Tee.Sgx, terms));
        bytes memory signature = rawSignature(signerScalar(), json);
        vm.expectRevert(why);
        verifier.upsertQeIdentity(json, signature, signer);
    }

    function quoteRefused(Quote memory quote, bytes memory why) private {
        vm.expectRevert(why);
        verifier.verify(quote, leaf);
    }

    function missing(V.Signed what, Tee tee, bytes6 fmspc) private pure returns (bytes memory) {
        bytes32 key = bytes32(fmspc) | bytes32(uint256(what) << 8 | uint256(tee));
        return abi.encodeWithSelector(V.Missing.selector, what, key);
    }

    function tcbInfoIs(Tee tee, bytes6 fmspc, uint256 number, uint256 issuedAt, uint256 next)
        private
        view
    {
        (uint32 gotNumber, uint40 gotIssuedAt, uint40 gotNext) = verifier.tcbInfo(tee, fmspc);
        vm.assertEq(gotNumber, number, "evaluation number");
        vm.assertEq(gotIssuedAt, issuedAt, "issued at");
        vm.assertEq(gotNext, next, "next update");
    }

    function qeIdentityIs(Tee tee, uint256 number, uint256 issuedAt, uint256 next) private view {
        (uint32 gotNumber, uint40 gotIssuedAt, uint40 gotNext) = verifier.qeIdentity(tee);
        vm.assertEq(gotNumber, number, "evaluation number");
        vm.assertEq(gotIssuedAt, issuedAt, "issued at");
        vm.assertEq(gotNext, next, "next update");
    }
}
