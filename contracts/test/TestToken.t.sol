// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "../src/Eip712.sol";
import {TestToken} from "../src/TestToken.sol";
import {CompactSignature} from "../src/interfaces/IEscrow.sol";
import {TokenSignatures} from "./TokenSignatures.sol";
import {vm} from "./Vm.sol";

/// The token's own EIP-3009; deposits with it are in `EscrowSigned.t.sol`.
contract TestTokenTest is TokenSignatures {
    bytes32 private constant NONCE = "nonce";
    address private immutable PAYER = addressOf("payer");
    address private immutable PAYEE = addressOf("payee");
    uint256 private immutable AFTER = START - 1;
    uint256 private immutable BEFORE = START + 1;

    function setUp() public {
        vm.warp(START);
        token = new TestToken();
        token.mint(PAYER, 10 * UNIT);
    }

    function test_transferWithAuthorization_isSentByAnybodyOnce() public {
        CompactSignature memory signature = transferSignature("payer", UNIT);
        vm.expectEmit(address(token));
        emit TestToken.AuthorizationUsed(PAYER, NONCE);
        transfer(UNIT, signature);
        vm.assertEq(token.balanceOf(PAYEE), UNIT, "payee");
        vm.assertTrue(token.authorizationState(PAYER, NONCE), "state");
        vm.expectRevert(abi.encodeWithSelector(TestToken.NonceUsed.selector, PAYER, NONCE));
        transfer(UNIT, signature);
    }

    function test_transferWithAuthorization_refusesOtherSigners() public {
        CompactSignature memory signature = transferSignature("stranger", UNIT);
        address stranger = addressOf("stranger");
        vm.expectRevert(abi.encodeWithSelector(TestToken.WrongSigner.selector, PAYER, stranger));
        transfer(UNIT, signature);
        vm.expectRevert(abi.encodeWithSelector(TestToken.WrongSigner.selector, PAYER, address(0)));
        transfer(UNIT, CompactSignature(0, bytes32(uint256(1))));
    }

    function test_transferWithAuthorization_countsWithinItsTime() public {
        CompactSignature memory signature = transferSignature("payer", UNIT);
        uint256[2] memory outside = [AFTER, BEFORE];
        for (uint256 i; i < 2; ++i) {
            vm.warp(outside[i]);
            vm.expectRevert(
                abi.encodeWithSelector(TestToken.OutsideOfTime.selector, AFTER, BEFORE, outside[i])
            );
            transfer(UNIT, signature);
        }
    }

    function test_receiveWithAuthorization_isSentByThePayee() public {
        CompactSignature memory signature = receiveSignature("payer", UNIT);
        vm.expectRevert(abi.encodeWithSelector(TestToken.NotPayee.selector, PAYEE, address(this)));
        receive_(UNIT, signature);
        vm.prank(PAYEE);
        receive_(UNIT, signature);
        vm.assertEq(token.balanceOf(PAYEE), UNIT, "payee");
    }

    /// The two kinds cannot be taken for each other.
    function test_receiveWithAuthorization_refusesATransferAuthorization() public {
        CompactSignature memory signature = transferSignature("payer", UNIT);
        bytes32 digest = Eip712.digest(token.DOMAIN_SEPARATOR(), hash("Receive", UNIT));
        address signer = Eip712.recover(digest, signature.r, signature.vs);
        vm.expectRevert(abi.encodeWithSelector(TestToken.WrongSigner.selector, PAYER, signer));
        vm.prank(PAYEE);
        receive_(UNIT, signature);
    }

    function test_cancelAuthorization_voidsTheNonce() public {
        bytes32 cancelType = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
        CompactSignature memory signature =
            signForToken("payer", keccak256(abi.encode(cancelType, PAYER, NONCE)));
        (uint8 v, bytes32 s) = Eip712.expand(signature.vs);
        vm.expectEmit(address(token));
        emit TestToken.AuthorizationCanceled(PAYER, NONCE);
        token.cancelAuthorization(PAYER, NONCE, v, signature.r, s);
        signature = transferSignature("payer", UNIT);
        vm.expectRevert(abi.encodeWithSelector(TestToken.NonceUsed.selector, PAYER, NONCE));
        transfer(UNIT, signature);
    }

    function transfer(uint256 value, CompactSignature memory signature) private {
        (uint8 v, bytes32 s) = Eip712.expand(signature.vs);
        token.transferWithAuthorization(
            PAYER, PAYEE, value, AFTER, BEFORE, NONCE, v, signature.r, s
        );
    }

    function receive_(uint256 value, CompactSignature memory signature) private {
        (uint8 v, bytes32 s) = Eip712.expand(signature.vs);
        token.receiveWithAuthorization(PAYER, PAYEE, value, AFTER, BEFORE, NONCE, v, signature.r, s);
    }

    function transferSignature(string memory label, uint256 value)
        private
        view
        returns (CompactSignature memory)
    {
        return signForToken(label, hash("Transfer", value));
    }

    function receiveSignature(string memory label, uint256 value)
        private
        view
        returns (CompactSignature memory)
    {
        return signForToken(label, hash("Receive", value));
    }

    function hash(string memory kind, uint256 value) private view returns (bytes32) {
        bytes memory typeName = abi.encodePacked(
            kind,
            "WithAuthorization(address from,address to,uint256 value,uint256 validAfter,",
            "uint256 validBefore,bytes32 nonce)"
        );
        return keccak256(abi.encode(keccak256(typeName), PAYER, PAYEE, value, AFTER, BEFORE, NONCE));
    }
}
