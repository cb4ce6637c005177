// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {P256} from "../../src/attestation/P256.sol";
import {IAttestationVerifier as V} from "../../src/interfaces/IAttestationVerifier.sol";
import {deployVerifier} from "../Deploy.sol";
import {RealQuotes} from "../RealQuotes.sol";
import {bound, vm} from "../Vm.sol";

uint256 constant ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551;

/// On a chain with the precompile.
contract P256Test {
    bytes32 private constant HASH = keccak256("message");

    function testFuzz_verify_acceptsWhatTheKeySigned(uint256 scalar, bytes32 hash) public view {
        scalar = bound(scalar, 1, ORDER - 1);
        (bytes32 r, bytes32 s) = vm.signP256(scalar, hash);
        (bytes32 x, bytes32 y) = keyOf(scalar);
        vm.assertEq(P256.verify(hash, r, s, x, y), true, "signed");
        bytes32 high = bytes32(ORDER - uint256(s));
        vm.assertEq(P256.verify(hash, r, high, x, y), true, "the other s");
    }

    function testFuzz_verify_refusesAnythingElse(uint256 scalar, uint256 word, bytes32 change)
        public
        view
    {
        if (change == 0) return;
        scalar = bound(scalar, 1, ORDER - 1);
        bytes32[5] memory input = signedBy(scalar);
        bytes32 other = bytes32(ORDER - uint256(input[2]));
        input[word % 5] ^= change;
        // The other s is as good, see above.
        if (word % 5 == 2 && input[2] == other) return;
        vm.assertEq(verify(input), false, "changed");
    }

    function test_verify_refusesNumbersOutOfRange() public view {
        for (uint256 word; word < 5; ++word) {
            bytes32[5] memory input = signedBy(1);
            input[word] = 0;
            vm.assertEq(verify(input), false, "zero");
            input[word] = bytes32(type(uint256).max);
            vm.assertEq(verify(input), false, "greatest");
            input = signedBy(1);
            if (word == 1 || word == 2) {
                input[word] = bytes32(ORDER);
                vm.assertEq(verify(input), false, "order");
            }
        }
    }

    function test_probe() public view {
        vm.assertEq(P256.probe(), true, "probe");
    }

    function signedBy(uint256 scalar) private pure returns (bytes32[5] memory input) {
        (bytes32 r, bytes32 s) = vm.signP256(scalar, HASH);
        (bytes32 x, bytes32 y) = keyOf(scalar);
        input = [HASH, r, s, x, y];
    }

    function verify(bytes32[5] memory input) private view returns (bool) {
        return P256.verify(input[0], input[1], input[2], input[3], input[4]);
    }

    function keyOf(uint256 scalar) private pure returns (bytes32, bytes32) {
        (uint256 x, uint256 y) = vm.publicKeyP256(scalar);
        return (bytes32(x), bytes32(y));
    }
}

/// On a chain without the precompile, where 0x100 is an address like any other.
/// forge-config: default.evm_version = "prague"
/// forge-config: nightly.evm_version = "prague"
contract P256MissingTest {
    address private constant PRECOMPILE = address(0x100);
    bytes32 private constant HASH = keccak256("message");

    function test_probe_noticesThatItIsMissing() public view {
        vm.assertEq(P256.probe(), false, "probe");
        vm.assertEq(verifySigned(), false, "signature");
    }

    function test_constructor_refusesAChainWithoutIt() public {
        string memory chain =
            vm.parseJsonString(RealQuotes.collateral("tdx_quote"), ".tcb_info_issuer_chain");
        bytes memory root = RealQuotes.certificates(chain)[1];
        vm.expectRevert(abi.encodeWithSelector(V.NoP256Precompile.selector));
        deployVerifier(root);
    }

    /// Code that says yes to everything.
    function test_probe_noticesThatEverythingIsAccepted() public {
        vm.etch(PRECOMPILE, hex"600160005260206000f3");
        vm.assertEq(verifySigned(), true, "says yes");
        vm.assertEq(P256.probe(), false, "probe");
    }

    function test_verify_believesNothingButOneInAWord() public {
        // Two; one in a byte; one in two words; one, by reverting; nothing.
        refuses(hex"600260005260206000f3");
        refuses(hex"600160005260016000f3");
        refuses(hex"600160005260406000f3");
        refuses(hex"600160005260206000fd");
        refuses(hex"00");
    }

    function refuses(bytes memory code) private {
        vm.etch(PRECOMPILE, code);
        vm.assertEq(verifySigned(), false, "signature");
        vm.assertEq(P256.probe(), false, "probe");
    }

    function verifySigned() private view returns (bool) {
        (bytes32 r, bytes32 s) = vm.signP256(1, HASH);
        (uint256 x, uint256 y) = vm.publicKeyP256(1);
        return P256.verify(HASH, r, s, bytes32(x), bytes32(y));
    }
}
