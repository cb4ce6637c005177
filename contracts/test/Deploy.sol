// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier} from "../src/interfaces/IAttestationVerifier.sol";
import {vm} from "./Vm.sol";

/// `new AttestationVerifier(root)` for files that do not import it, because those that do are
/// compiled like it: see `foundry.toml`.
function deployVerifier(bytes memory root) returns (IAttestationVerifier) {
    bytes memory code = bytes.concat(vm.getCode("AttestationVerifier.sol"), abi.encode(root));
    address deployed;
    assembly ("memory-safe") {
        deployed := create(0, add(code, 0x20), mload(code))
        if iszero(deployed) {
            returndatacopy(code, 0, returndatasize())
            revert(code, returndatasize())
        }
    }
    return IAttestationVerifier(deployed);
}
