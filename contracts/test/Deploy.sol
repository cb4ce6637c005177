// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier} from "../src/interfaces/IAttestationVerifier.sol";
import {IPodRegistry} from "../src/interfaces/IPodRegistry.sol";
import {vm} from "./Vm.sol";

// For files that must not import the contracts, because those that do are compiled like them: see
// `foundry.toml`.

/// `new AttestationVerifier(root)`.
function deployVerifier(bytes memory root) returns (IAttestationVerifier) {
    bytes memory code = vm.getCode("AttestationVerifier.sol");
    return IAttestationVerifier(createWith(bytes.concat(code, abi.encode(root))));
}

/// `new PodRegistry(verifier)`.
function deployRegistry(IAttestationVerifier verifier) returns (IPodRegistry) {
    bytes memory code = vm.getCode("PodRegistry.sol");
    return IPodRegistry(createWith(bytes.concat(code, abi.encode(verifier))));
}

function createWith(bytes memory code) returns (address deployed) {
    assembly ("memory-safe") {
        deployed := create(0, add(code, 0x20), mload(code))
        if iszero(deployed) {
            returndatacopy(code, 0, returndatasize())
            revert(code, returndatasize())
        }
    }
}
