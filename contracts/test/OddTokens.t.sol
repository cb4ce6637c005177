// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";
import {Eip712} from "../src/Eip712.sol";
import {Escrow} from "../src/Escrow.sol";
import {TestToken} from "../src/TestToken.sol";
import {Authorization, CompactSignature, IEscrow, Permit} from "../src/interfaces/IEscrow.sol";
import {
    FalseToken,
    FeeToken,
    HookToken,
    IssuedToken,
    NoddingToken,
    PlainToken,
    SilentToken
} from "./OddTokens.sol";
import {TokenSignatures} from "./TokenSignatures.sol";
import {vm} from "./Vm.sol";

/// What counts on deposit is what arrives, once; and no token makes the escrow owe more than it
/// holds.
contract OddTokensTest is TokenSignatures {
    CompactSignature private none;

    function setUp() public {
        deploy();
    }

    // Fees on transfer

    function test_deposit_creditsWhatIsLeftAfterTheTokensFee() public {
        useToken(new FeeToken());
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(USER, address(this), 9 * UNIT);
        escrow.deposit(USER, 10 * UNIT);
        assertFree(9 * UNIT);
    }

    function test_depositWithAuthorization_creditsWhatIsLeftAfterTheTokensFee() public {
        useToken(new FeeToken());
        token.mint(addressOf("payer"), 10 * UNIT);
        escrow.depositWithAuthorization(USER, authorizationBy("payer", USER, 10 * UNIT, "salt"));
        assertFree(9 * UNIT);
        assertHeld(9 * UNIT);
    }

    function test_withdraw_leavesTheTokensFeeToTheReceiver() public {
        useToken(new FeeToken());
        escrow.deposit(USER, 10 * UNIT);
        withdraw(9 * UNIT);
        vm.assertEq(token.balanceOf(OWNER), 8_100_000, "owner");
        assertHeld(0);
    }

    // Answers

    function test_deposit_refusesATokenThatSaysNo() public {
        useToken(new FalseToken());
        vm.expectRevert(abi.encodeWithSelector(SafeTransferLib.TransferFromFailed.selector));
        escrow.deposit(USER, UNIT);
    }

    function test_deposit_takesATokenThatSaysNothing() public {
        useToken(new SilentToken());
        escrow.deposit(USER, UNIT);
        assertFree(UNIT);
    }

    function test_withdrawAndCollect_takeATokenThatSaysNothing() public {
        useToken(new SilentToken());
        lockSettleAndFund();
        withdraw(UNIT);
        escrow.collect(podId);
        vm.assertEq(token.balanceOf(OWNER), UNIT, "owner");
        vm.assertEq(token.balanceOf(PAYOUT), UNIT, "payout");
    }

    function test_withdrawAndCollect_revertWhenTheTokenSaysNo() public {
        useToken(new TestToken());
        lockSettleAndFund();
        vm.etch(address(token), address(new FalseToken()).code);
        refuseWithdrawal();
        refuseCollection();
        assertFree(UNIT);
        vm.assertEq(escrow.credit(podId), UNIT, "credit");
    }

    // Tokens without permits or authorizations

    /// Nothing comes of an authorization that the token only nods at.
    function test_depositWithAuthorization_refusesATokenThatOnlyNods() public {
        useToken(TestToken(address(new NoddingToken())));
        Authorization memory authorization =
            Authorization(addressOf("payer"), UNIT, 0, START + 1, "salt", none);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NothingArrived.selector));
        escrow.depositWithAuthorization(USER, authorization);
    }

    /// A permit that the token only nods at is no allowance.
    function test_depositWithPermit_refusesATokenThatOnlyNods() public {
        useToken(TestToken(address(new NoddingToken())));
        token.approve(address(escrow), 0);
        vm.expectRevert(abi.encodeWithSelector(SafeTransferLib.TransferFromFailed.selector));
        escrow.depositWithPermit(USER, Permit(UNIT, START, none));
    }

    function test_depositWithPermit_takesTheAllowanceWhereThereAreNoPermits() public {
        useToken(TestToken(address(new PlainToken())));
        token.approve(address(escrow), UNIT - 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.PermitRefused.selector, ""));
        escrow.depositWithPermit(USER, Permit(UNIT, START, none));
        token.approve(address(escrow), UNIT);
        escrow.depositWithPermit(USER, Permit(UNIT, START, none));
        assertFree(UNIT);
    }

    // The issuer's power

    /// Locks, settlements and exits do not move the token: a pause holds back only the last step.
    function test_pause_stopsNeitherSettlementsNorExits() public {
        IssuedToken issued = new IssuedToken();
        useToken(issued);
        fund("user", 5 * UNIT);
        issued.stop(address(0), true);
        lockOne(lockRow("user", 5 * UNIT, 0));
        settleOne(settleRow("user", UNIT, UNIT, 0));
        exitUser();
        assertFree(4 * UNIT);
        refuseWithdrawal();
        refuseCollection();
        vm.expectRevert(abi.encodeWithSelector(SafeTransferLib.TransferFromFailed.selector));
        escrow.deposit(USER, UNIT);
        issued.stop(address(0), false);
        withdraw(4 * UNIT);
        escrow.collect(podId);
        assertHeld(0);
    }

    function test_blacklistedOwner_stopsOnlyItsOwnWithdrawal() public {
        IssuedToken issued = new IssuedToken();
        useToken(issued);
        lockSettleAndFund();
        address other = addressOf("other");
        token.approve(address(escrow), UNIT);
        escrow.openAndDeposit(other, other, openSignature("other", other), UNIT);
        issued.stop(OWNER, true);
        refuseWithdrawal();
        vm.prank(other);
        escrow.withdraw(other, UNIT);
        escrow.collect(podId);
        exitUser();
        assertFree(5 * UNIT);
    }

    function test_blacklistedPayout_isReplacedByTheOperator() public {
        IssuedToken issued = new IssuedToken();
        useToken(issued);
        lockSettleAndFund();
        issued.stop(PAYOUT, true);
        refuseCollection();
        vm.assertEq(escrow.credit(podId), UNIT, "credit");
        withdraw(UNIT);
        vm.prank(OPERATOR);
        registry.updatePayout(podId, addressOf("other"));
        escrow.collect(podId);
        vm.assertEq(token.balanceOf(addressOf("other")), UNIT, "the new payout");
    }

    // Hooks of the sender (before) and the receiver (after)

    function test_deposit_enteredFromTheTokenCountsOnce() public {
        for (uint256 late; late < 2; ++late) {
            HookToken hooked =
                hookedDeposit(abi.encodeCall(escrow.deposit, (USER, UNIT)), late == 1);
            bytes memory refusal = abi.encodeWithSelector(IEscrow.Reentered.selector);
            vm.assertEq(hooked.answer(), refusal, "inner deposit");
            assertFree(UNIT);
            assertHeld(UNIT);
        }
    }

    function test_depositWithAuthorization_enteredFromTheTokenCountsOnce() public {
        HookToken hooked = new HookToken();
        useToken(hooked);
        token.mint(addressOf("payer"), 2 * UNIT);
        Authorization memory inner = authorizationBy("payer", USER, UNIT, "inner");
        hooked.hook(
            address(escrow), abi.encodeCall(escrow.depositWithAuthorization, (USER, inner)), false
        );
        escrow.depositWithAuthorization(USER, authorizationBy("payer", USER, UNIT, "outer"));
        bytes memory refusal = abi.encodeWithSelector(IEscrow.Reentered.selector);
        vm.assertEq(hooked.answer(), refusal, "inner deposit");
        assertFree(UNIT);
        assertHeld(UNIT);
    }

    function test_deposit_canBeMadeTwiceInATransaction() public {
        useToken(new TestToken());
        escrow.deposit(USER, UNIT);
        escrow.deposit(USER, UNIT);
        assertFree(2 * UNIT);
    }

    /// Money that leaves while a deposit is counted makes the deposit smaller, never the debt larger.
    function test_withdraw_fromInsideADepositIsCountedAgainstIt() public {
        HookToken hooked = new HookToken();
        useToken(hooked);
        address user = accountOf(hooked, 2 * UNIT);
        hooked.hook(address(escrow), abi.encodeCall(escrow.withdraw, (user, UNIT)), false);
        escrow.deposit(USER, 3 * UNIT);
        vm.assertEq(hooked.answer(), "", "inner withdrawal");
        vm.assertEq(escrow.account(user).free, UNIT, "the account of the token");
        assertFree(2 * UNIT);
        // One unit is nobody's.
        assertHeld(4 * UNIT);
    }

    function test_withdraw_ofMoreThanTheDepositAroundItFails() public {
        HookToken hooked = new HookToken();
        useToken(hooked);
        address user = accountOf(hooked, 2 * UNIT);
        hooked.hook(address(escrow), abi.encodeCall(escrow.withdraw, (user, 2 * UNIT)), true);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NothingArrived.selector));
        escrow.deposit(USER, 2 * UNIT);
        vm.assertEq(escrow.account(user).free, 2 * UNIT, "undone");
        assertHeld(2 * UNIT);
    }

    function test_collect_fromInsideTheTokenFindsNothing() public {
        for (uint256 late; late < 2; ++late) {
            HookToken hooked = new HookToken();
            useToken(hooked);
            lockSettleAndFund();
            uint256 before = token.balanceOf(PAYOUT);
            hooked.hook(address(escrow), abi.encodeCall(escrow.collect, (podId)), late == 1);
            escrow.collect(podId);
            bytes memory refusal = abi.encodeWithSelector(IEscrow.NothingToCollect.selector, podId);
            vm.assertEq(hooked.answer(), refusal, "inner collect");
            vm.assertEq(token.balanceOf(PAYOUT) - before, UNIT, "payout");
        }
    }

    /// The owner withdraws from inside its own withdrawal: the second one finds the smaller free
    /// part.
    function test_withdraw_fromInsideTheTokenFindsTheRest() public {
        for (uint256 late; late < 2; ++late) {
            HookToken hooked = new HookToken();
            useToken(hooked);
            address user = accountOf(hooked, UNIT);
            escrow.deposit(USER, UNIT);
            hooked.hook(address(escrow), abi.encodeCall(escrow.withdraw, (user, UNIT)), late == 1);
            vm.prank(address(hooked));
            escrow.withdraw(user, UNIT);
            bytes memory refusal =
                abi.encodeWithSelector(IEscrow.InsufficientFree.selector, user, 0, UNIT);
            vm.assertEq(hooked.answer(), refusal, "inner withdrawal");
            vm.assertEq(hooked.balanceOf(address(hooked)), UNIT, "withdrawn");
            assertHeld(UNIT);
        }
    }

    /// The same signature, sent again from inside the withdrawal that it makes.
    function test_withdrawFor_fromInsideTheTokenIsUsedUp() public {
        HookToken hooked = new HookToken();
        useToken(hooked);
        escrow.deposit(USER, 2 * UNIT);
        CompactSignature memory signature = withdrawSignature("user", USER, UNIT, 0, START);
        bytes memory data = abi.encodeCall(escrow.withdrawFor, (USER, UNIT, 0, START, signature));
        hooked.hook(address(escrow), data, false);
        escrow.withdrawFor(USER, UNIT, 0, START, signature);
        bytes memory refusal = abi.encodeWithSelector(IEscrow.WrongNonce.selector, 1, 0);
        vm.assertEq(hooked.answer(), refusal, "inner withdrawal");
        assertFree(UNIT);
    }

    /// An exit finished from inside a withdrawal frees what it frees, once.
    function test_finishExit_fromInsideAWithdrawalAddsUp() public {
        HookToken hooked = new HookToken();
        useToken(hooked);
        lockSettleAndFund();
        vm.prank(OWNER);
        escrow.startExit(USER, podId);
        vm.warp(START + 48 hours);
        hooked.hook(address(escrow), abi.encodeCall(escrow.finishExit, (USER, podId)), true);
        withdraw(UNIT);
        vm.assertEq(hooked.answer(), "", "inner exit");
        assertFree(4 * UNIT);
        withdraw(4 * UNIT);
        escrow.collect(podId);
        assertHeld(0);
    }

    /// A new escrow for this token, with the user's account open and plenty to deposit.
    function useToken(TestToken odd) private {
        token = odd;
        escrow = new Escrow(address(odd), registry);
        odd.mint(address(this), 100 * UNIT);
        odd.approve(address(escrow), type(uint256).max);
        escrow.open(USER, OWNER, openSignature("user", OWNER));
    }

    /// 4 locked and unclaimed, 1 in credit, 1 free.
    function lockSettleAndFund() private {
        fundAndLock("user", 5 * UNIT);
        fund("user", UNIT);
        settleOne(settleRow("user", UNIT, UNIT, 0));
    }

    /// A deposit by this contract during which the token makes `data` its own call to the escrow.
    function hookedDeposit(bytes memory data, bool late) private returns (HookToken hooked) {
        hooked = new HookToken();
        useToken(hooked);
        hooked.mint(address(hooked), UNIT);
        vm.prank(address(hooked));
        hooked.approve(address(escrow), UNIT);
        hooked.hook(address(escrow), data, late);
        escrow.deposit(USER, UNIT);
    }

    /// An account that belongs to the token itself.
    function accountOf(HookToken hooked, uint256 amount) private returns (address user) {
        user = addressOf("user of the token");
        bytes32 structHash = keccak256(abi.encode(Eip712.OPEN_ACCOUNT_TYPE, user, address(hooked)));
        CompactSignature memory signature = sign("user of the token", structHash);
        escrow.openAndDeposit(user, address(hooked), signature, amount);
    }

    function withdraw(uint256 amount) private {
        vm.prank(OWNER);
        escrow.withdraw(USER, amount);
    }

    function exitUser() private {
        vm.prank(OWNER);
        escrow.startExit(USER, podId);
        vm.warp(START + 48 hours);
        escrow.finishExit(USER, podId);
    }

    function refuseWithdrawal() private {
        vm.expectRevert(abi.encodeWithSelector(SafeTransferLib.TransferFailed.selector));
        vm.prank(OWNER);
        escrow.withdraw(USER, UNIT);
    }

    function refuseCollection() private {
        vm.expectRevert(abi.encodeWithSelector(SafeTransferLib.TransferFailed.selector));
        escrow.collect(podId);
    }

    function assertFree(uint256 free) private view {
        vm.assertEq(escrow.account(USER).free, free, "free");
    }

    function assertHeld(uint256 held) private view {
        vm.assertEq(token.balanceOf(address(escrow)), held, "balance of the escrow");
    }
}
