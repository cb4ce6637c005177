// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier} from "../src/interfaces/IAttestationVerifier.sol";
import {deployVerifier} from "./Deploy.sol";
import {RealQuotes} from "./RealQuotes.sol";
import {vm} from "./Vm.sol";

/// A verifier under Intel's root, with collateral that Intel signed, at a time when it was valid.
abstract contract RealPlatform {
    IAttestationVerifier internal intel;
    bytes32 internal intelCa;
    bytes32 internal intelSigner;

    /// Deploys and brings everything but TCB information and QE identity.
    function startIntel(string memory name, uint256 time) internal {
        vm.warp(time);
        string memory json = RealQuotes.collateral(name);
        bytes[] memory chain = certificatesAt(json, ".pck_crl_issuer_chain");
        intel = deployVerifier(chain[1]);
        intel.upsertCrl(intel.ROOT(), hexAt(json, ".root_ca_crl"));
        intelCa = intel.admitCa(chain[0]);
        intel.upsertCrl(intelCa, hexAt(json, ".pck_crl"));
        intelSigner = intel.admitSigner(certificatesAt(json, ".tcb_info_issuer_chain")[0]);
    }

    /// Brings TCB information and QE identity.
    function bringIntel(string memory name) internal {
        intelCall(name, "tcb_info");
        intelCall(name, "qe_identity");
    }

    function intelCall(string memory name, string memory item) private {
        (bool good,) = address(intel).call(intelUpsert(name, item));
        vm.assertTrue(good, item);
    }

    /// The call that brings `tcb_info` or `qe_identity`.
    function intelUpsert(string memory name, string memory item)
        internal
        view
        returns (bytes memory)
    {
        string memory json = RealQuotes.collateral(name);
        string memory path = string.concat(".", item);
        bytes memory text = bytes(vm.parseJsonString(json, path));
        bytes memory signature = hexAt(json, string.concat(path, "_signature"));
        return keccak256(bytes(item)) == keccak256("tcb_info")
            ? abi.encodeCall(intel.upsertTcbInfo, (text, signature, intelSigner))
            : abi.encodeCall(intel.upsertQeIdentity, (text, signature, intelSigner));
    }

    function certificatesAt(string memory json, string memory path)
        private
        pure
        returns (bytes[] memory)
    {
        return RealQuotes.certificates(vm.parseJsonString(json, path));
    }

    function hexAt(string memory json, string memory path) private pure returns (bytes memory) {
        return vm.parseBytes(string.concat("0x", vm.parseJsonString(json, path)));
    }
}
