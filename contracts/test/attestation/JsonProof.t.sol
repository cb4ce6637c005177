// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Json} from "../../src/attestation/Json.sol";

/// Steps of a walk behind external calls.
contract JsonReader {
    using Json for Json.Walk;

    function hexBytes(bytes calldata json) external pure returns (uint256) {
        return Json.open(json, 0).hexBytes(16);
    }

    function text(bytes calldata json) external pure returns (uint256) {
        Json.Walk memory walk = Json.open(json, 0);
        walk.text();
        return walk.next - walk.start;
    }

    function number(bytes calldata json, uint256 max) external pure returns (uint256, uint256) {
        Json.Walk memory walk = Json.open(json, 0);
        uint256 value = walk.number(max);
        return (value, walk.next - walk.start);
    }
}

/// Steps that look at a word at once do what looking at each character does, for all inputs; for
/// halmos: `halmos --contract JsonProof --loop 256`. Forge runs none of them.
contract JsonProof {
    JsonReader private reader;

    function setUp() public {
        reader = new JsonReader();
    }

    function check_hexIsReadCharacterByCharacter(bytes32 characters) public view {
        bool good = true;
        uint256 expected;
        for (uint256 i; i < 32; ++i) {
            uint256 c = uint8(characters[i]);
            bool isDigit = both(c >= 48, c <= 57);
            bool isUpper = both(c >= 65, c <= 70);
            bool isLower = both(c >= 97, c <= 102);
            good = both(good, either(isDigit, either(isUpper, isLower)));
            unchecked {
                uint256 digit = (c - 48) * bit(isDigit);
                digit += (c - 55) * bit(isUpper) + (c - 87) * bit(isLower);
                expected = expected << 4 | digit;
            }
        }
        (bool done, bytes memory result) = address(reader)
            .staticcall(abi.encodeCall(reader.hexBytes, (abi.encodePacked(characters))));
        assert(done == good);
        if (done) assert(abi.decode(result, (uint256)) == expected);
    }

    function check_textStopsAtTheFirstCharacterThatCannotBeInIt(bytes32 characters) public view {
        uint256 expected;
        bool open = true;
        for (uint256 i; i < 32; ++i) {
            uint256 c = uint8(characters[i]);
            bool plain = both(both(c >= 32, c < 128), both(c != 34, c != 92));
            open = both(open, plain);
            unchecked {
                expected += bit(open);
            }
        }
        uint256 got = reader.text(abi.encodePacked(characters));
        assert(got == expected);
    }

    /// Up to 11 characters; what follows them is no digit.
    function check_numbersAreDecimal(bytes11 characters, uint32 max) public view {
        uint256 expected;
        uint256 digits;
        bool open = true;
        for (uint256 i; i < 11; ++i) {
            uint256 c = uint8(characters[i]);
            open = both(open, both(c >= 48, c <= 57));
            if (!open) break;
            expected = expected * 10 + (c - 48);
            ++digits;
        }
        bool good = both(digits != 0, expected <= max);
        good = both(good, either(digits == 1, characters[0] != "0"));
        bytes memory data = abi.encodeCall(reader.number, (abi.encodePacked(characters, "}"), max));
        (bool done, bytes memory result) = address(reader).staticcall(data);
        assert(done == good);
        if (!done) return;
        (uint256 value, uint256 length) = abi.decode(result, (uint256, uint256));
        assert(value == expected && length == digits);
    }

    // Without branches, each of which would double the paths.

    function both(bool a, bool b) private pure returns (bool c) {
        assembly ("memory-safe") {
            c := and(a, b)
        }
    }

    function either(bool a, bool b) private pure returns (bool c) {
        assembly ("memory-safe") {
            c := or(a, b)
        }
    }

    function bit(bool a) private pure returns (uint256 c) {
        assembly ("memory-safe") {
            c := a
        }
    }
}
