// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    IAttestationVerifier as V,
    Pck,
    Quote,
    TcbStatus,
    Tee,
    Verdict
} from "../src/interfaces/IAttestationVerifier.sol";
import {deployVerifier} from "./Deploy.sol";
import {RealPlatform} from "./RealPlatform.sol";
import {RealQuotes} from "./RealQuotes.sol";
import {Simulation} from "./Simulation.sol";
import {vm} from "./Vm.sol";

/// Quotes of real machines under Intel's root, and the vectors of the simulated platform: what other
/// programs made, verified on chain.
contract RealQuotesTest is RealPlatform, Simulation {
    uint256 private constant JUNE_2025 = 1_751_000_000;
    uint256 private constant FEBRUARY_2026 = 1_772_000_000;
    uint256 private constant OCTOBER_2026 = 1_792_000_000;
    uint256 private constant START = 1_800_000_000;

    function test_intel_sgxV3NeedsConfigurationAndSoftwareHardening() public {
        Verdict memory verdict = verdictOn("sgx_quote", "sgx_quote", JUNE_2025);
        (Quote memory quote,) = RealQuotes.load("sgx_quote");
        vm.assertEq(uint256(verdict.tee), uint256(Tee.Sgx), "tee");
        status(verdict, TcbStatus.ConfigurationAndSWHardeningNeeded);
        vm.assertEq(verdict.measurement, bytes32(slice(quote.signed, 112, 144)), "MRENCLAVE");
        vm.assertEq(verdict.reportData, bytes32(slice(quote.signed, 368, 400)), "report data");
        vm.assertEq(verdict.nonce, bytes32(slice(quote.signed, 400, 432)), "nonce");
    }

    function test_intel_tdxV4IsUpToDate() public {
        Verdict memory verdict = verdictOn("tdx_quote", "tdx_quote", JUNE_2025);
        status(verdict, TcbStatus.UpToDate);
        trustDomain(verdict, "tdx_quote", 48);
    }

    function test_intel_tdxV5Td15ExIsUpToDate() public {
        Verdict memory verdict = verdictOn("tdx_quote_td15ex", "tdx_quote_td15ex", OCTOBER_2026);
        status(verdict, TcbStatus.UpToDate);
        trustDomain(verdict, "tdx_quote_td15ex", 54);
    }

    function test_intel_tdxV4IsOutOfDateUnderLaterCollateral() public {
        Verdict memory verdict = verdictOn("tdx_quote", "tdx_quote_td15ex", OCTOBER_2026);
        status(verdict, TcbStatus.OutOfDate);
    }

    function test_intel_outdatedTdxV5HasNoLevel() public {
        startIntel("tdx_quote_outdated", FEBRUARY_2026);
        bringIntel("tdx_quote_outdated");
        (Quote memory quote, bytes memory der) = RealQuotes.load("tdx_quote_outdated");
        Pck memory read = intel.admitPck(der);
        bytes16 teeTcbSvn = bytes16(bytes32(slice(quote.signed, 54, 86)));
        vm.expectRevert(
            abi.encodeWithSelector(V.NoTcbLevel.selector, read.cpuSvn, read.pceSvn, teeTcbSvn)
        );
        intel.verify(quote, der);
    }

    function test_intel_expiryIsTheEarliestDate() public {
        Verdict memory verdict = verdictOn("sgx_quote", "sgx_quote", JUNE_2025);
        // 2025-07-19T10:01:18Z, as in PROVENANCE.md.
        vm.assertEq(verdict.expiry, 1_752_919_278, "expiry");
        (Quote memory quote, bytes memory der) = RealQuotes.load("sgx_quote");
        vm.warp(verdict.expiry - 1);
        vm.assertEq(intel.verify(quote, der).expiry, verdict.expiry, "in the last second");
        vm.warp(verdict.expiry);
        (bool good,) = address(intel).call(abi.encodeCall(intel.verify, (quote, der)));
        vm.assertEq(good, false, "from then on");
    }

    function test_intel_quotesAreNotGoodUnderTheDevelopmentRoot() public {
        vm.warp(START);
        startVerifier();
        (Quote memory quote, bytes memory der) = RealQuotes.load("sgx_quote");
        (bool good, bytes memory reason) =
            address(verifier).call(abi.encodeCall(verifier.verify, (quote, der)));
        vm.assertEq(good, false, "refused");
        vm.assertEq(bytes32(bytes4(reason)), bytes32(V.UnknownCa.selector), "unknown CA");
    }

    function test_intel_anyChangedByteIsRefused() public {
        startIntel("tdx_quote_td15ex", OCTOBER_2026);
        bringIntel("tdx_quote_td15ex");
        (Quote memory quote, bytes memory der) = RealQuotes.load("tdx_quote_td15ex");
        mutate(intel, quote, der);
    }

    function test_simulated_verdictsAreThoseOfTheVectors() public {
        bringVectors("collateral.json");
        useMachine("machine.json");
        string memory json = vm.readFile(string.concat(SIMULATED, "quotes.json"));
        string[5] memory names = ["sgx_v3", "tdx_v4", "tdx_v5_td10", "tdx_v5_td15", "tdx_v5_td15ex"];
        for (uint256 i; i < names.length; ++i) {
            string memory path = string.concat(".", names[i]);
            Quote memory quote = Quote(part(json, path, "_signed"), part(json, path, "_auth"));
            (Quote memory cut, bytes memory der) = RealQuotes.cut(part(json, path, "_raw"));
            vm.assertEq(abi.encode(cut), abi.encode(quote), "cut");
            vm.assertEq(der, leaf, "leaf");
            Verdict memory expected = expectedOf(json, path);
            vm.assertEq(abi.encode(verifier.verify(quote, leaf)), abi.encode(expected), names[i]);
        }
    }

    function test_simulated_everyMachineIsJudgedByItsOwnCa() public {
        bringVectors("collateral.json");
        useMachine("machine_processor.json");
        Verdict memory verdict = verifier.verify(sgxQuote("data"), leaf);
        status(verdict, TcbStatus.UpToDate);
        useMachine("machine_outdated.json");
        status(verifier.verify(sgxQuote("data"), leaf), TcbStatus.OutOfDate);
        useMachine("machine_revoked.json");
        Quote memory quote = sgxQuote("data");
        vm.expectRevert(revoked(V.Signed.Pck, serialOf(scalarOf(machine, "PCK"))));
        verifier.verify(quote, leaf);
    }

    function test_simulated_laterCollateralChangesTheVerdicts() public {
        bringVectors("collateral.json");
        vm.warp(START + 60);
        string memory json = vm.readFile(string.concat(SIMULATED, "collateral_later.json"));
        upsertVectors(json);
        useMachine("machine.json");
        Quote memory quote = sgxQuote("data");
        vm.expectRevert(revoked(V.Signed.Pck, serialOf(scalarOf(machine, "PCK"))));
        verifier.verify(quote, leaf);
        useMachine("machine_processor.json");
        quote = sgxQuote("data");
        uint256 scalar = scalarOf("phallama development root", "PCK processor CA");
        vm.expectRevert(revoked(V.Signed.Ca, serialOf(scalar)));
        verifier.verify(quote, leaf);
    }

    function test_simulated_anyChangedByteIsRefused() public {
        vm.warp(START);
        startVerifier();
        mutate(verifier, sgxQuote("data"), leaf);
    }

    // Helpers.

    /// The verdict on one file's quote under the other's collateral.
    function verdictOn(string memory name, string memory collateral, uint256 time)
        private
        returns (Verdict memory)
    {
        startIntel(collateral, time);
        bringIntel(collateral);
        (Quote memory quote, bytes memory der) = RealQuotes.load(name);
        return intel.verify(quote, der);
    }

    /// Every byte of the three parts changed, one at a time.
    function mutate(V target, Quote memory quote, bytes memory der) private {
        target.verify(quote, der);
        bytes[3] memory parts = [quote.signed, quote.auth, der];
        for (uint256 j; j < 3; ++j) {
            for (uint256 i; i < parts[j].length; ++i) {
                parts[j][i] ^= 0x10;
                (bool good,) = address(target).call(abi.encodeCall(target.verify, (quote, der)));
                vm.assertEq(good, false, vm.toString(j * 10_000 + i));
                parts[j][i] ^= 0x10;
            }
        }
        target.verify(quote, der);
    }

    function trustDomain(Verdict memory verdict, string memory name, uint256 body) private view {
        (Quote memory quote,) = RealQuotes.load(name);
        vm.assertEq(uint256(verdict.tee), uint256(Tee.Tdx), "tee");
        bytes memory registers = slice(quote.signed, body + 136, body + 520);
        bytes32 measurement = sha256(bytes.concat("phallama/1 td measurement\x00", registers));
        vm.assertEq(verdict.measurement, measurement, "measurement");
        bytes32 data = bytes32(slice(quote.signed, body + 520, body + 552));
        vm.assertEq(verdict.reportData, data, "report data");
    }

    function status(Verdict memory verdict, TcbStatus expected) private pure {
        vm.assertEq(uint256(verdict.status), uint256(expected), "status");
    }

    function revoked(V.Signed what, bytes memory serial) private pure returns (bytes memory) {
        return abi.encodeWithSelector(V.Revoked.selector, what, uint160(bytes20(serial)));
    }

    function bringVectors(string memory file) private {
        vm.warp(START);
        startVerifier();
        string memory json = vm.readFile(string.concat(SIMULATED, file));
        rootCertificate = vm.parseJsonBytes(json, ".root");
        verifier = deployVerifier(rootCertificate);
        verifier.upsertCrl(verifier.ROOT(), vm.parseJsonBytes(json, ".root_crl"));
        verifier.admitCa(vm.parseJsonBytes(json, ".platform_ca"));
        verifier.admitCa(vm.parseJsonBytes(json, ".processor_ca"));
        verifier.admitSigner(vm.parseJsonBytes(json, ".tcb_signer"));
        upsertInformation(json);
    }

    function upsertVectors(string memory json) private {
        verifier.upsertCrl(verifier.ROOT(), vm.parseJsonBytes(json, ".root_crl"));
        upsertInformation(json);
    }

    function upsertInformation(string memory json) private {
        bytes32 id = vm.parseJsonBytes32(json, ".platform_ca_id");
        verifier.upsertCrl(id, vm.parseJsonBytes(json, ".platform_crl"));
        id = vm.parseJsonBytes32(json, ".processor_ca_id");
        verifier.upsertCrl(id, vm.parseJsonBytes(json, ".processor_crl"));
        id = vm.parseJsonBytes32(json, ".tcb_signer_id");
        string[2] memory tees = [".sgx", ".tdx"];
        for (uint256 i; i < 2; ++i) {
            bytes memory text = part(json, tees[i], "_tcb_info");
            verifier.upsertTcbInfo(text, part(json, tees[i], "_tcb_info_signature"), id);
            text = part(json, tees[i], "_qe_identity");
            verifier.upsertQeIdentity(text, part(json, tees[i], "_qe_identity_signature"), id);
        }
    }

    function expectedOf(string memory json, string memory path)
        private
        pure
        returns (Verdict memory v)
    {
        v.tee = Tee(vm.parseJsonUint(json, string.concat(path, "_tee")));
        v.status = TcbStatus(vm.parseJsonUint(json, string.concat(path, "_status")));
        v.evaluationNumber =
            uint32(vm.parseJsonUint(json, string.concat(path, "_evaluation_number")));
        v.expiry = uint40(vm.parseJsonUint(json, string.concat(path, "_expiry")));
        v.measurement = vm.parseJsonBytes32(json, string.concat(path, "_measurement"));
        v.machine = vm.parseJsonBytes32(json, string.concat(path, "_machine"));
        v.evidence = vm.parseJsonBytes32(json, string.concat(path, "_evidence"));
        v.reportData = vm.parseJsonBytes32(json, string.concat(path, "_report_data"));
        v.nonce = vm.parseJsonBytes32(json, string.concat(path, "_nonce"));
    }

    function part(string memory json, string memory path, string memory suffix)
        private
        pure
        returns (bytes memory)
    {
        return vm.parseJsonBytes(json, string.concat(path, suffix));
    }
}
