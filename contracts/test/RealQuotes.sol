// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base64} from "solady/utils/Base64.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";
import {Quote} from "../src/interfaces/IAttestationVerifier.sol";
import {vm} from "./Vm.sol";

/// Reads `vectors/attestation/intel`, and cuts raw quotes as a host does before it sends them.
library RealQuotes {
    using LibBytes for bytes;

    string private constant FOLDER = "../vectors/attestation/intel/";
    string private constant BEGIN = "-----BEGIN CERTIFICATE-----";
    string private constant END = "-----END CERTIFICATE-----";

    /// The quote of a file and the first certificate of the chain in it.
    function load(string memory name)
        internal
        view
        returns (Quote memory quote, bytes memory leaf)
    {
        string memory text = vm.readFile(string.concat(FOLDER, name, ".hex"));
        return cut(vm.parseBytes(string.concat("0x", vm.replace(text, "\n", ""))));
    }

    /// The collateral of a file, as JSON.
    function collateral(string memory name) internal view returns (string memory) {
        return vm.readFile(string.concat(FOLDER, name, "_collateral.json"));
    }

    /// Certificates of a PEM chain in DER.
    function certificates(string memory pem) internal pure returns (bytes[] memory list) {
        string[] memory parts = vm.split(pem, BEGIN);
        list = new bytes[](parts.length - 1);
        for (uint256 i; i < list.length; ++i) {
            string memory body = vm.split(parts[i + 1], END)[0];
            list[i] = Base64.decode(vm.replace(body, "\n", ""));
        }
    }

    function cut(bytes memory raw) internal pure returns (Quote memory quote, bytes memory leaf) {
        uint256 version = uint8(raw[0]);
        uint256 signed = version == 3 ? 432 : version == 4 ? 632 : 54 + littleEndian(raw, 50, 4);
        quote.signed = raw.slice(0, signed);
        uint256 offset = signed + 4;
        bytes memory signature = raw.slice(offset, offset + 128);
        // Type and size of the certification data around the QE report.
        offset += version == 3 ? 128 : 134;
        bytes memory report = raw.slice(offset, offset + 448);
        require(littleEndian(raw, offset + 448, 2) == 32, "QE authentication data");
        quote.auth = bytes.concat(signature, report, raw.slice(offset + 450, offset + 482));
        uint256 size = littleEndian(raw, offset + 484, 4);
        leaf = certificates(string(raw.slice(offset + 488, offset + 488 + size)))[0];
    }

    function littleEndian(bytes memory raw, uint256 offset, uint256 size)
        private
        pure
        returns (uint256 value)
    {
        for (uint256 i = size; i != 0; --i) {
            value = value << 8 | uint8(raw[offset + i - 1]);
        }
    }
}
