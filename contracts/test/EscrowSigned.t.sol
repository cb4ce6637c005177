// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "solady/tokens/ERC20.sol";
import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {Eip712} from "../src/Eip712.sol";
import {Escrow} from "../src/Escrow.sol";
import {TestToken} from "../src/TestToken.sol";
import {
    Account,
    Authorization,
    CompactSignature,
    IEscrow,
    Permit
} from "../src/interfaces/IEscrow.sol";
import {TokenSignatures} from "./TokenSignatures.sol";
import {bound, vm} from "./Vm.sol";

/// Deposits by EIP-2612 permit and EIP-3009 authorization, and withdrawals that somebody else sends.
contract EscrowSignedTest is TokenSignatures {
    address private immutable PAYER = addressOf("payer");
    address private immutable STRANGER = addressOf("stranger");
    bytes32 private constant SALT = "salt";

    function setUp() public {
        deploy();
        escrow.open(USER, OWNER, openSignature("user", OWNER));
        token.mint(PAYER, 100 * UNIT);
    }

    // depositWithPermit

    function test_depositWithPermit_needsNoAllowanceBefore() public {
        Permit memory permit = permitBy("payer", 3 * UNIT);
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(USER, PAYER, 3 * UNIT);
        vm.prank(PAYER);
        escrow.depositWithPermit(USER, permit);
        assertFree(3 * UNIT);
        vm.assertEq(token.allowance(PAYER, address(escrow)), 0, "allowance");
    }

    function test_depositWithPermit_worksWhenThePermitWasSentBefore() public {
        Permit memory permit = permitBy("payer", 3 * UNIT);
        sendPermit(PAYER, permit);
        vm.prank(PAYER);
        escrow.depositWithPermit(USER, permit);
        assertFree(3 * UNIT);
    }

    function test_depositWithPermit_saysWhyTheTokenRefused() public {
        Permit memory permit = permitBy("payer", 3 * UNIT);
        permit.signature.r ^= bytes32(uint256(1));
        refusePermit(permit, ERC20.InvalidPermit.selector);
        permit = permitBy("payer", 3 * UNIT);
        vm.warp(permit.deadline + 1);
        refusePermit(permit, ERC20.PermitExpired.selector);
        vm.warp(permit.deadline);
        vm.prank(PAYER);
        escrow.depositWithPermit(USER, permit);
        assertFree(3 * UNIT);
    }

    function test_depositWithPermit_refusesAUsedPermit() public {
        Permit memory permit = permitBy("payer", 3 * UNIT);
        vm.prank(PAYER);
        escrow.depositWithPermit(USER, permit);
        refusePermit(permit, ERC20.InvalidPermit.selector);
    }

    /// Somebody else's permit, sent or not, cannot be turned into a deposit for oneself.
    function test_depositWithPermit_isTheCallersAlone() public {
        Permit memory permit = permitBy("payer", 3 * UNIT);
        escrow.open(STRANGER, STRANGER, openSignature("stranger", STRANGER));
        bytes memory reason = abi.encodeWithSelector(ERC20.InvalidPermit.selector);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.PermitRefused.selector, reason));
        vm.prank(STRANGER);
        escrow.depositWithPermit(STRANGER, permit);
        sendPermit(PAYER, permit);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.PermitRefused.selector, reason));
        vm.prank(STRANGER);
        escrow.depositWithPermit(STRANGER, permit);
    }

    function test_depositWithPermit_refusesWhatThePayerDoesNotHave() public {
        Permit memory permit = permitBy("payer", 101 * UNIT);
        vm.expectRevert(abi.encodeWithSelector(SafeTransferLib.TransferFromFailed.selector));
        vm.prank(PAYER);
        escrow.depositWithPermit(USER, permit);
    }

    function test_depositWithPermit_refusesAClosedAccount() public {
        Permit memory permit = permitBy("payer", UNIT);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOpen.selector, STRANGER));
        vm.prank(PAYER);
        escrow.depositWithPermit(STRANGER, permit);
    }

    // depositWithAuthorization

    function test_depositWithAuthorization_isSentByAnybody() public {
        Authorization memory authorization = authorizationBy("payer", USER, 3 * UNIT, SALT);
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(USER, PAYER, 3 * UNIT);
        vm.prank(STRANGER);
        escrow.depositWithAuthorization(USER, authorization);
        assertFree(3 * UNIT);
        vm.assertEq(token.balanceOf(PAYER), 97 * UNIT, "payer");
        vm.assertTrue(
            token.authorizationState(PAYER, escrow.depositNonce(USER, SALT)), "the nonce is used"
        );
    }

    function test_depositWithAuthorization_countsOnce() public {
        Authorization memory authorization = authorizationBy("payer", USER, 3 * UNIT, SALT);
        escrow.depositWithAuthorization(USER, authorization);
        bytes32 nonce = escrow.depositNonce(USER, SALT);
        vm.expectRevert(abi.encodeWithSelector(TestToken.NonceUsed.selector, PAYER, nonce));
        escrow.depositWithAuthorization(USER, authorization);
        assertFree(3 * UNIT);
        escrow.depositWithAuthorization(USER, authorizationBy("payer", USER, UNIT, "another"));
        assertFree(4 * UNIT);
    }

    /// The nonce that was signed names the user: for another one the signature is somebody else's.
    function test_depositWithAuthorization_cannotBeTurnedToAnotherAccount() public {
        Authorization memory authorization = authorizationBy("payer", USER, 3 * UNIT, SALT);
        escrow.open(STRANGER, STRANGER, openSignature("stranger", STRANGER));
        address signer = authorizationSigner(STRANGER, authorization);
        vm.assertTrue(signer != PAYER, "not the payer's signature");
        vm.expectRevert(abi.encodeWithSelector(TestToken.WrongSigner.selector, PAYER, signer));
        vm.prank(STRANGER);
        escrow.depositWithAuthorization(STRANGER, authorization);
    }

    /// Nor can it be sent to the token by anybody but the escrow, which would credit nobody.
    function test_depositWithAuthorization_cannotBeSpentBesideTheEscrow() public {
        Authorization memory a = authorizationBy("payer", USER, 3 * UNIT, SALT);
        bytes32 nonce = escrow.depositNonce(USER, SALT);
        (uint8 v, bytes32 s) = Eip712.expand(a.signature.vs);
        vm.expectRevert(
            abi.encodeWithSelector(TestToken.NotPayee.selector, address(escrow), STRANGER)
        );
        vm.prank(STRANGER);
        token.receiveWithAuthorization(
            PAYER,
            address(escrow),
            a.amount,
            a.validAfter,
            a.validBefore,
            nonce,
            v,
            a.signature.r,
            s
        );
    }

    function test_depositWithAuthorization_isOfThisEscrowOnly() public {
        Authorization memory authorization = authorizationBy("payer", USER, 3 * UNIT, SALT);
        escrow = new Escrow(address(token), registry);
        escrow.open(USER, OWNER, openSignature("user", OWNER));
        address signer = authorizationSigner(USER, authorization);
        vm.expectRevert(abi.encodeWithSelector(TestToken.WrongSigner.selector, PAYER, signer));
        escrow.depositWithAuthorization(USER, authorization);
    }

    function test_depositWithAuthorization_refusesEachChangedMember() public {
        for (uint256 i; i < 6; ++i) {
            Authorization memory a = authorizationBy("payer", USER, 3 * UNIT, SALT);
            if (i == 0) a.amount += 1;
            if (i == 1) a.validAfter -= 1;
            if (i == 2) a.validBefore += 1;
            if (i == 3) a.salt = "another";
            if (i == 4) a.signature.r ^= bytes32(uint256(1));
            if (i == 5) a.from = STRANGER;
            address signer = authorizationSigner(USER, a);
            vm.assertTrue(signer != a.from, "another signer");
            vm.expectRevert(abi.encodeWithSelector(TestToken.WrongSigner.selector, a.from, signer));
            escrow.depositWithAuthorization(USER, a);
        }
    }

    function test_depositWithAuthorization_countsWithinItsTime() public {
        Authorization memory a = authorizationBy("payer", USER, 3 * UNIT, SALT);
        uint256[2] memory outside = [a.validAfter, a.validBefore];
        for (uint256 i; i < 2; ++i) {
            vm.warp(outside[i]);
            vm.expectRevert(
                abi.encodeWithSelector(
                    TestToken.OutsideOfTime.selector, a.validAfter, a.validBefore, outside[i]
                )
            );
            escrow.depositWithAuthorization(USER, a);
        }
        vm.warp(a.validBefore - 1);
        escrow.depositWithAuthorization(USER, a);
        assertFree(3 * UNIT);
    }

    function test_depositWithAuthorization_refusesAClosedAccount() public {
        Authorization memory authorization = authorizationBy("payer", STRANGER, UNIT, SALT);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOpen.selector, STRANGER));
        escrow.depositWithAuthorization(STRANGER, authorization);
    }

    function test_depositWithAuthorization_refusesNothing() public {
        Authorization memory authorization = authorizationBy("payer", USER, 0, SALT);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NothingArrived.selector));
        escrow.depositWithAuthorization(USER, authorization);
    }

    function test_depositNonce_isTheHashOfTheUserAndTheSalt() public view {
        bytes32 typeHash = keccak256("Deposit(address user,bytes32 salt)");
        bytes32 expected = keccak256(abi.encode(typeHash, USER, SALT));
        vm.assertEq(escrow.depositNonce(USER, SALT), expected, "nonce");
    }

    // openAndDepositWith…

    function test_openAndDepositWithPermit_opensOnce() public {
        CompactSignature memory open = openSignature("another", OWNER);
        address user = addressOf("another");
        Permit memory permit = permitBy("payer", UNIT);
        vm.prank(PAYER);
        escrow.openAndDepositWithPermit(user, OWNER, open, permit);
        permit = permitBy("payer", 2 * UNIT);
        vm.prank(PAYER);
        escrow.openAndDepositWithPermit(user, OWNER, CompactSignature(0, 0), permit);
        assertAccount(user, OWNER, 3 * UNIT);
    }

    function test_openAndDepositWithPermit_refusesAnotherOwner() public {
        Permit memory permit = permitBy("payer", UNIT);
        CompactSignature memory open = openSignature("user", STRANGER);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.AlreadyOpen.selector, USER, OWNER));
        vm.prank(PAYER);
        escrow.openAndDepositWithPermit(USER, STRANGER, open, permit);
    }

    /// A user with tokens and no gas: two signatures, sent by anybody.
    function test_openAndDepositWithAuthorization_opensOnce() public {
        CompactSignature memory open = openSignature("another", OWNER);
        address user = addressOf("another");
        Authorization memory a = authorizationBy("payer", user, UNIT, SALT);
        vm.prank(STRANGER);
        escrow.openAndDepositWithAuthorization(user, OWNER, open, a);
        a = authorizationBy("payer", user, 2 * UNIT, "another");
        escrow.openAndDepositWithAuthorization(user, OWNER, CompactSignature(0, 0), a);
        assertAccount(user, OWNER, 3 * UNIT);
    }

    function test_openAndDepositWithAuthorization_refusesAnotherOwner() public {
        Authorization memory a = authorizationBy("payer", USER, UNIT, SALT);
        CompactSignature memory open = openSignature("user", STRANGER);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.AlreadyOpen.selector, USER, OWNER));
        escrow.openAndDepositWithAuthorization(USER, STRANGER, open, a);
    }

    /// The stranger cannot name itself the owner of an account that somebody else pays for.
    function test_openAndDepositWithAuthorization_needsTheUserKey() public {
        address user = addressOf("another");
        Authorization memory a = authorizationBy("payer", user, UNIT, SALT);
        bytes32 structHash = keccak256(abi.encode(Eip712.OPEN_ACCOUNT_TYPE, user, STRANGER));
        CompactSignature memory open = sign("stranger", structHash);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongSigner.selector, user, STRANGER));
        vm.prank(STRANGER);
        escrow.openAndDepositWithAuthorization(user, STRANGER, open, a);
    }

    // withdrawFor

    function test_withdrawFor_paysTheOwnerWhoeverSendsIt() public {
        fund("user", 3 * UNIT);
        CompactSignature memory signature = withdrawSignature("user", USER, UNIT, 0, START);
        vm.expectEmit(address(escrow));
        emit IEscrow.Withdrawn(USER, OWNER, UNIT);
        vm.prank(STRANGER);
        escrow.withdrawFor(USER, UNIT, 0, START, signature);
        assertFree(2 * UNIT);
        vm.assertEq(token.balanceOf(OWNER), UNIT, "owner");
        vm.assertEq(token.balanceOf(STRANGER), 0, "stranger");
        vm.assertEq(escrow.withdrawNonce(USER), 1, "nonce");
    }

    /// By forge's own EIP-712 encoder, from the words of the specification.
    function test_withdrawFor_digestIsThatOfTheSpecification() public {
        string memory json = string.concat(
            '{"types": {"EIP712Domain": [{"name": "name", "type": "string"},',
            '{"name": "version", "type": "string"}, {"name": "chainId", "type": "uint256"},',
            '{"name": "verifyingContract", "type": "address"}], "Withdraw": [',
            '{"name": "user", "type": "address"}, {"name": "amount", "type": "uint96"},',
            '{"name": "nonce", "type": "uint64"}, {"name": "deadline", "type": "uint40"}]},',
            '"primaryType": "Withdraw", "domain": {"name": "Phallama Escrow", "version": "1",'
        );
        json = string.concat(json, '"chainId": "', vm.toString(block.chainid));
        json = string.concat(json, '", "verifyingContract": "', vm.toString(address(escrow)));
        json = string.concat(json, '"}, "message": {"user": "', vm.toString(USER));
        json = string.concat(json, '", "amount": "1000000", "nonce": "0", "deadline": "');
        json = string.concat(json, vm.toString(uint256(START)), '"}}');
        (bytes32 r, bytes32 vs) = vm.signCompact(secret("user"), vm.eip712HashTypedData(json));
        fund("user", UNIT);
        escrow.withdrawFor(USER, UNIT, 0, START, CompactSignature(r, vs));
        assertFree(0);
    }

    function test_withdrawFor_countsOnce() public {
        fund("user", 3 * UNIT);
        CompactSignature memory signature = withdrawSignature("user", USER, UNIT, 0, START);
        escrow.withdrawFor(USER, UNIT, 0, START, signature);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongNonce.selector, 1, 0));
        escrow.withdrawFor(USER, UNIT, 0, START, signature);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongNonce.selector, 1, 2));
        escrow.withdrawFor(USER, UNIT, 2, START, signature);
        escrow.withdrawFor(USER, UNIT, 1, START, withdrawSignature("user", USER, UNIT, 1, START));
        assertFree(UNIT);
    }

    function test_withdrawFor_worksUpToTheDeadline() public {
        fund("user", UNIT);
        CompactSignature memory signature = withdrawSignature("user", USER, UNIT, 0, START + 9);
        vm.warp(START + 10);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.Expired.selector, START + 9, START + 10));
        escrow.withdrawFor(USER, UNIT, 0, START + 9, signature);
        vm.warp(START + 9);
        escrow.withdrawFor(USER, UNIT, 0, START + 9, signature);
        assertFree(0);
    }

    function test_withdrawFor_refusesAClosedAccount() public {
        CompactSignature memory signature = withdrawSignature("stranger", STRANGER, UNIT, 0, START);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOpen.selector, STRANGER));
        escrow.withdrawFor(STRANGER, UNIT, 0, START, signature);
    }

    /// Not even the owner's signature: the owner has `withdraw`.
    function test_withdrawFor_needsTheUserKey() public {
        fund("user", UNIT);
        string[2] memory others = ["owner", "stranger"];
        for (uint256 i; i < others.length; ++i) {
            CompactSignature memory signature = withdrawSignature(others[i], USER, UNIT, 0, START);
            vm.expectRevert(
                abi.encodeWithSelector(IEscrow.WrongSigner.selector, USER, addressOf(others[i]))
            );
            escrow.withdrawFor(USER, UNIT, 0, START, signature);
        }
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongSigner.selector, USER, address(0)));
        escrow.withdrawFor(USER, UNIT, 0, START, CompactSignature(0, bytes32(uint256(1))));
    }

    function test_withdrawFor_refusesEachChangedMember() public {
        fund("user", 3 * UNIT);
        fund("another", UNIT);
        address another = addressOf("another");
        CompactSignature memory signature = withdrawSignature("user", USER, UNIT, 0, START + 9);
        refuseWithdrawal(another, UNIT, START + 9, signature);
        refuseWithdrawal(USER, UNIT + 1, START + 9, signature);
        refuseWithdrawal(USER, UNIT, START + 8, signature);
        escrow = new Escrow(address(token), registry);
        fund("user", UNIT);
        refuseWithdrawal(USER, UNIT, START + 9, signature);
    }

    function test_withdrawFor_refusesMoreThanFree() public {
        fund("user", 3 * UNIT);
        CompactSignature memory signature = withdrawSignature("user", USER, 3 * UNIT + 1, 0, START);
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.InsufficientFree.selector, USER, 3 * UNIT, 3 * UNIT + 1)
        );
        escrow.withdrawFor(USER, 3 * UNIT + 1, 0, START, signature);
        vm.assertEq(escrow.withdrawNonce(USER), 0, "the nonce is not used up");
    }

    /// Whatever the way, what the payer loses is what the user gets.
    function testFuzz_deposits_moveExactlyTheAmount(uint96 amount, uint256 way) public {
        amount = uint96(bound(amount, 1, 100 * UNIT));
        if (way % 3 == 0) {
            escrow.depositWithAuthorization(USER, authorizationBy("payer", USER, amount, SALT));
        } else if (way % 3 == 1) {
            Permit memory permit = permitBy("payer", amount);
            vm.prank(PAYER);
            escrow.depositWithPermit(USER, permit);
        } else {
            vm.startPrank(PAYER);
            token.approve(address(escrow), amount);
            escrow.deposit(USER, amount);
            vm.stopPrank();
        }
        assertFree(amount);
        vm.assertEq(token.balanceOf(PAYER), 100 * UNIT - amount, "payer");
    }

    function refusePermit(Permit memory permit, bytes4 reason) private {
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.PermitRefused.selector, abi.encodeWithSelector(reason))
        );
        vm.prank(PAYER);
        escrow.depositWithPermit(USER, permit);
    }

    function refuseWithdrawal(
        address user,
        uint96 amount,
        uint40 deadline,
        CompactSignature memory signature
    ) private {
        address signer = recover(
            keccak256(abi.encode(Eip712.WITHDRAW_TYPE, user, amount, uint64(0), deadline)),
            signature
        );
        vm.assertTrue(signer != user, "another signer");
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongSigner.selector, user, signer));
        escrow.withdrawFor(user, amount, 0, deadline, signature);
    }

    function assertFree(uint256 free) private view {
        assertAccount(USER, OWNER, free);
    }

    function assertAccount(address user, address owner, uint256 free) private view {
        Account memory account = escrow.account(user);
        vm.assertEq(account.owner, owner, "owner");
        vm.assertEq(account.free, free, "free");
    }
}
