// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Quote, Tee} from "../src/interfaces/IAttestationVerifier.sol";
import {Binding, PodId} from "../src/interfaces/IPodRegistry.sol";
import {deployVerifier} from "./Deploy.sol";
import {Fixture} from "./Fixture.sol";
import {RealPlatform} from "./RealPlatform.sol";
import {RealQuotes} from "./RealQuotes.sol";
import {vm} from "./Vm.sol";

/// Gas of attestation, in `snapshots/attestation.json`; what a figure is: `Gas.t.sol`. `NAME` is
/// what a sender is billed for the transaction, `NAME_execution` that without the 21,000 and the
/// calldata: what another contract pays for the call.
///
/// With FOUNDRY_NETWORK=optimism the P-256 precompile takes 3,450 gas instead of 6,900, and the
/// figures are in `snapshots/attestation_optimism.json`.
/// forge-config: default.isolate = true
/// forge-config: nightly.isolate = true
contract AttestationGasTest is Fixture, RealPlatform {
    uint256 private constant VERIFY_MAX = 75_000;
    uint256 private constant FIRST_MAX = 240_000;
    uint256 private constant AGAIN_MAX = 110_000;
    uint256 private constant TCB_INFO_MAX = 700_000;
    uint256 private constant SERIAL_MAX = 8000;

    string private group = "attestation";

    function setUp() public {
        deploy();
        bring(Tee.Tdx, goodTerms());
        if (precompileGas() < 6900) group = "attestation_optimism";
    }

    function test_verify() public {
        string[5] memory names = ["sgx_v3", "tdx_v4", "tdx_v5_td10", "tdx_v5_td15", "tdx_v5_td15ex"];
        uint8[5] memory bodyTypes = [0, 0, 2, 3, 4];
        for (uint256 i; i < 5; ++i) {
            Quote memory quote = i == 0 ? sgxQuote("data") : tdQuote(bodyTypes[i], "data");
            bytes memory data = abi.encodeCall(verifier.verify, (quote, leaf));
            uint256 used = record(string.concat("verify_", names[i]), address(verifier), data);
            vm.assertLe(execution(used, data), VERIFY_MAX, names[i]);
            data = abi.encodeCall(verifier.verifyKnown, (quote, pck));
            record(string.concat("verifyKnown_", names[i]), address(verifier), data);
        }
    }

    /// A trust domain whose TDX module was updated since its launch: its levels are looked up twice.
    function test_verify_updatedModule() public {
        bytes memory signed = tdSigned(3, "data");
        signed[54 + 584 + 2] = 0x03;
        bytes memory data = abi.encodeCall(verifier.verify, (quoteOf(signed), leaf));
        uint256 used = record("verify_tdx_v5_td15_updated", address(verifier), data);
        vm.assertLe(execution(used, data), VERIFY_MAX, "updated");
    }

    /// Intel's own quotes, with TCB information of many levels.
    function test_verify_real() public {
        verifyReal("sgx_quote", 1_751_000_000);
        verifyReal("tdx_quote", 1_751_000_000);
        verifyReal("tdx_quote_td15ex", 1_792_000_000);
    }

    function test_attest_first() public {
        string[4] memory names = ["sgx", "tdx_v4", "tdx_v5_td15", "tdx_v5_td15ex"];
        uint8[4] memory bodyTypes = [0, 0, 3, 4];
        for (uint256 i; i < names.length; ++i) {
            uint256 state = vm.snapshotState();
            useMachine("machine_revoked.json");
            PodId id = listPod("alone");
            Binding memory b = binding("identity");
            bytes32 data = reportData(id, b);
            Quote memory quote = i == 0 ? sgxQuote(data) : tdQuote(bodyTypes[i], data);
            bytes memory call = abi.encodeCall(registry.attest, (id, b, quote, leaf));
            string memory name = string.concat("attest_first_", names[i]);
            uint256 used = record(name, address(registry), call);
            vm.assertLe(used, FIRST_MAX, name);
            vm.revertToState(state);
        }
    }

    function test_attest_again() public {
        vm.warp(START + COLLATERAL_LIFE);
        renewCollateral();
        vm.assertLe(attestAgain("attest_again_same_key", "identity"), AGAIN_MAX, "same key");
        attestAgain("attest_again_new_key", "next boot");
    }

    function test_invalidate() public {
        Quote memory quote = sgxQuote(reportData(podId, binding("identity")));
        vm.warp(START + 1);
        Terms memory terms = goodTerms();
        terms.status = "OutOfDate";
        bringTcbInfo(tcbInfoJson(Tee.Sgx, terms));
        bytes memory data = abi.encodeCall(registry.invalidate, (podId, IDENTITY, quote, pck));
        record("invalidate", address(registry), data);
    }

    function test_admit() public {
        useMachine("machine_revoked.json");
        bytes memory data = abi.encodeCall(verifier.admitPck, (leaf));
        record("admitPck", address(verifier), data);
        string memory json = vm.readFile(string.concat(SIMULATED, "collateral.json"));
        data = abi.encodeCall(verifier.admitCa, (vm.parseJsonBytes(json, ".processor_ca")));
        record("admitCa", address(verifier), data);
        verifier = deployVerifier(rootCertificate);
        vm.warp(START + 2);
        bringRootCrl(new bytes[](0));
        data = abi.encodeCall(verifier.admitSigner, (vm.parseJsonBytes(json, ".tcb_signer")));
        record("admitSigner", address(verifier), data);
    }

    function test_upsert_real() public {
        startIntel("sgx_quote", 1_751_000_000);
        upsertReal("sgx_quote", "tcb_info", "upsertTcbInfo_sgx");
        upsertReal("sgx_quote", "qe_identity", "upsertQeIdentity_sgx");
        startIntel("tdx_quote_td15ex", 1_792_000_000);
        upsertReal("tdx_quote_td15ex", "tcb_info", "upsertTcbInfo_tdx");
        upsertReal("tdx_quote_td15ex", "qe_identity", "upsertQeIdentity_tdx");
    }

    function test_upsertCrl() public {
        uint256[3] memory counts = [uint256(0), 100, 1000];
        uint256[3] memory used;
        for (uint256 i; i < 3; ++i) {
            vm.warp(START + 1 + i);
            bytes memory der = crlOf(caCertificate, caScalar(), serialsOf(counts[i]));
            bytes memory data = abi.encodeCall(verifier.upsertCrl, (platformCa, der));
            string memory name = string.concat("upsertCrl_", vm.toString(counts[i]));
            used[i] = record(name, address(verifier), data);
        }
        uint256 slope = (used[2] - used[1]) / 900;
        vm.assertLe((used[1] - used[0]) / 100, SERIAL_MAX, "per serial");
        vm.assertLe(slope, SERIAL_MAX, "per serial of many");
        vm.snapshotValue(group, "upsertCrl_slope", slope);
    }

    /// Negative list: a list whose length decides what verifying costs.
    function test_negative_linearCrlScan() public {
        Quote memory quote = sgxQuote("data");
        bytes memory data = abi.encodeCall(verifier.verifyKnown, (quote, pck));
        uint256 none = billed(address(verifier), data);
        vm.warp(START + 1);
        bringCaCrl(serialsOf(1000));
        uint256 many = billed(address(verifier), data);
        vm.assertLe(many, none + 3500, "one look into the table");
    }

    // Helpers.

    function attestAgain(string memory name, string memory label) private returns (uint256) {
        uint256 state = vm.snapshotState();
        Binding memory b = binding(label);
        Quote memory quote = sgxQuote(reportData(podId, b));
        bytes memory data = abi.encodeCall(registry.attestKnown, (podId, b, quote, pck));
        uint256 used = record(name, address(registry), data);
        vm.revertToState(state);
        return used;
    }

    function verifyReal(string memory name, uint256 time) private {
        startIntel(name, time);
        bringIntel(name);
        (Quote memory quote, bytes memory der) = RealQuotes.load(name);
        bytes memory data = abi.encodeCall(intel.verify, (quote, der));
        uint256 used = record(string.concat("verify_real_", name), address(intel), data);
        vm.assertLe(execution(used, data), VERIFY_MAX, name);
    }

    function upsertReal(string memory name, string memory item, string memory label) private {
        uint256 used = record(label, address(intel), intelUpsert(name, item));
        vm.assertLe(used, TCB_INFO_MAX, label);
    }

    function serialsOf(uint256 count) private pure returns (bytes[] memory serials) {
        serials = new bytes[](count);
        for (uint256 i; i < count; ++i) {
            serials[i] = abi.encodePacked(bytes20(keccak256(abi.encode("serial", i))));
        }
    }

    function precompileGas() private view returns (uint256 used) {
        bytes memory input = new bytes(160);
        used = gasleft();
        (bool ran,) = address(0x100).staticcall(input);
        used -= gasleft();
        vm.assertTrue(ran, "P-256");
    }

    function record(string memory name, address target, bytes memory data)
        private
        returns (uint256 used)
    {
        used = billed(target, data);
        vm.snapshotValue(group, name, used);
        vm.snapshotValue(group, string.concat(name, "_execution"), execution(used, data));
    }

    function billed(address target, bytes memory data) private returns (uint256) {
        vm.prank(OPERATOR);
        (bool good,) = target.call(data);
        vm.assertTrue(good, "refused");
        return vm.lastCallGas().gasTotalUsed;
    }

    function execution(uint256 used, bytes memory data) private pure returns (uint256) {
        uint256 intrinsic = 21_000;
        for (uint256 i; i < data.length; ++i) {
            intrinsic += data[i] == 0 ? 4 : 16;
        }
        return used - intrinsic;
    }
}
