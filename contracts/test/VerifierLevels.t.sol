// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    IAttestationVerifier as V,
    Quote,
    TcbStatus,
    Tee
} from "../src/interfaces/IAttestationVerifier.sol";
import {Simulation} from "./Simulation.sol";
import {vm} from "./Vm.sol";

/// The status of a verdict: levels of platform, TDX module and quoting enclave as one.
contract VerifierLevelsTest is Simulation {
    uint256 private constant START = 1_800_000_000;

    string[6] private platform = [
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded"
    ];
    uint256 private time = START;

    function setUp() public {
        vm.warp(START);
        startVerifier();
        bring(Tee.Tdx, goodTerms());
    }

    function test_status_ofThePlatform() public {
        for (uint256 i; i < platform.length; ++i) {
            bringStatuses(Tee.Sgx, platform[i], "UpToDate");
            is_(sgxQuote("data"), TcbStatus(i));
            bringStatuses(Tee.Tdx, platform[i], "UpToDate");
            is_(tdQuote(0, "data"), TcbStatus(i));
        }
    }

    /// Negative list: REVOKED returning success.
    function test_negative_revokedReturnsSuccess() public {
        bringStatuses(Tee.Sgx, "Revoked", "UpToDate");
        refuse(sgxQuote("data"), abi.encodeWithSelector(V.TcbRevoked.selector));
        bringStatuses(Tee.Tdx, "Revoked", "UpToDate");
        for (uint8 bodyType; bodyType < 5; ++bodyType) {
            if (bodyType == 1) continue;
            refuse(tdQuote(bodyType, "data"), abi.encodeWithSelector(V.TcbRevoked.selector));
        }
        string memory json = tcbInfoJson(Tee.Tdx, later());
        string memory module = string.concat('{"isvsvn":5},', rating("UpToDate"));
        string memory other = string.concat('{"isvsvn":5},', rating("Revoked"));
        bringTcbInfo(vm.replace(json, module, other));
        refuse(tdQuote(0, "data"), abi.encodeWithSelector(V.TcbRevoked.selector));
    }

    /// Negative list: QE revocation ignored.
    function test_negative_qeRevocationIgnored() public {
        for (uint256 i; i < platform.length; ++i) {
            bringStatuses(Tee.Sgx, platform[i], "Revoked");
            refuse(sgxQuote("data"), abi.encodeWithSelector(V.TcbRevoked.selector));
        }
        bringStatuses(Tee.Tdx, "UpToDate", "Revoked");
        refuse(tdQuote(4, "data"), abi.encodeWithSelector(V.TcbRevoked.selector));
    }

    /// Negative list: convergence of QE and platform overwriting a status. A QE never makes a
    /// platform better, and one that is out of date always shows.
    function test_negative_convergenceOverwritesAStatus() public {
        TcbStatus[6] memory stale = [
            TcbStatus.OutOfDate,
            TcbStatus.OutOfDate,
            TcbStatus.OutOfDateConfigurationNeeded,
            TcbStatus.OutOfDateConfigurationNeeded,
            TcbStatus.OutOfDate,
            TcbStatus.OutOfDateConfigurationNeeded
        ];
        for (uint256 i; i < platform.length; ++i) {
            bringStatuses(Tee.Sgx, platform[i], "UpToDate");
            is_(sgxQuote("data"), TcbStatus(i));
            bringStatuses(Tee.Sgx, platform[i], "OutOfDate");
            is_(sgxQuote("data"), stale[i]);
            bringStatuses(Tee.Sgx, platform[i], "OutOfDateConfigurationNeeded");
            is_(sgxQuote("data"), stale[i]);
        }
    }

    function test_status_ofTheTdxModule() public {
        string memory json = tcbInfoJson(Tee.Tdx, later());
        string memory module = string.concat('{"isvsvn":5},', rating("UpToDate"));
        string memory other = string.concat('{"isvsvn":5},', rating("OutOfDate"));
        bringTcbInfo(vm.replace(json, module, other));
        is_(tdQuote(0, "data"), TcbStatus.OutOfDate);
    }

    function test_refuses_aPlatformBelowEveryLevel() public {
        Terms memory terms = later();
        terms.pceSvn = 14;
        bring(Tee.Sgx, terms);
        refuse(sgxQuote("data"), abi.encodeWithSelector(V.NoTcbLevel.selector, CPU_SVN, 13, 0));
        terms = later();
        terms.cpuSvn = CPU_SVN | bytes16(uint128(1));
        bring(Tee.Tdx, terms);
        refuse(
            tdQuote(0, "data"),
            abi.encodeWithSelector(V.NoTcbLevel.selector, CPU_SVN, 13, TEE_TCB_SVN)
        );
    }

    function test_refuses_otherTdxModules() public {
        bytes memory signed = tdSigned(0, "data");
        // The second byte of TEE_TCB_SVN is the module's version, the first its SVN.
        signed[49] = 0x02;
        refuse(quoteOf(signed), abi.encodeWithSelector(V.NoTdxModuleLevel.selector, 2, 5));
        signed = tdSigned(0, "data");
        signed[48] = 0x04;
        refuse(quoteOf(signed), abi.encodeWithSelector(V.NoTdxModuleLevel.selector, 1, 4));
        // MRSIGNERSEAM and SEAMATTRIBUTES.
        bytes32 expected = keccak256(new bytes(56));
        for (uint256 i = 64; i < 120; i += 11) {
            signed = tdSigned(0, "data");
            signed[48 + i] = 0x01;
            bytes32 got = keccak256(slice(signed, 112, 168));
            refuse(
                quoteOf(signed), abi.encodeWithSelector(V.WrongTdxModule.selector, expected, got)
            );
        }
    }

    // TD 1.5: at launch, and now.

    function test_td15_relaunchIsAdvisedWhenOnlyTheLaunchIsOutOfDate() public {
        bringTwoLevels();
        is_(relaunched(1, 2), TcbStatus.TDRelaunchAdvised);
        is_(relaunched(2, 2), TcbStatus.UpToDate);
        is_(relaunched(1, 1), TcbStatus.OutOfDate);
        is_(relaunched(2, 1), TcbStatus.UpToDate);
    }

    function test_td15_refusesARevokedTcbAtLaunchOrNow() public {
        bringTwoLevels();
        refuse(relaunched(0, 2), abi.encodeWithSelector(V.TcbRevoked.selector));
        refuse(relaunched(2, 0), abi.encodeWithSelector(V.TcbRevoked.selector));
    }

    function test_td15_refusesACurrentTcbWithoutALevel() public {
        bytes memory signed = tdSigned(3, "data");
        bytes16 current = TEE_TCB_SVN & ~bytes16(uint128(0xff) << 104);
        for (uint256 i; i < 16; ++i) {
            signed[54 + 584 + i] = current[i];
        }
        refuse(quoteOf(signed), abi.encodeWithSelector(V.NoTcbLevel.selector, CPU_SVN, 13, current));
    }

    function test_evaluationNumber_isTheLowerOne() public {
        Terms memory terms = later();
        terms.evaluationNumber = 19;
        bringTcbInfo(tcbInfoJson(Tee.Sgx, terms));
        vm.assertEq(verifier.verify(sgxQuote("data"), leaf).evaluationNumber, 17, "of the QE");
        terms = later();
        terms.evaluationNumber = 21;
        bringQeIdentity(qeIdentityJson(Tee.Sgx, terms));
        vm.assertEq(verifier.verify(sgxQuote("data"), leaf).evaluationNumber, 19, "of the platform");
    }

    // Helpers.

    function later() private returns (Terms memory) {
        vm.warp(++time);
        return goodTerms();
    }

    function bringStatuses(Tee tee, string memory ofPlatform, string memory ofQe) private {
        Terms memory terms = later();
        (terms.status, terms.qeStatus) = (ofPlatform, ofQe);
        bring(tee, terms);
    }

    /// By the third TDX component: 2 is up to date, 1 out of date, 0 revoked.
    function bringTwoLevels() private {
        string memory json = tcbInfoJson(Tee.Tdx, later());
        string memory up = level(true, goodTerms());
        string memory out = vm.replace(up, rating("UpToDate"), rating("OutOfDate"));
        string memory gone = vm.replace(up, rating("UpToDate"), rating("Revoked"));
        string memory tdx = '"tdxtcbcomponents":[{"svn":5},{"svn":0},{"svn":';
        out = vm.replace(out, string.concat(tdx, "2}"), string.concat(tdx, "1}"));
        gone = vm.replace(gone, string.concat(tdx, "2}"), string.concat(tdx, "0}"));
        bringTcbInfo(vm.replace(json, up, string.concat(up, ",", out, ",", gone)));
    }

    function relaunched(uint8 launch, uint8 current) private view returns (Quote memory) {
        bytes memory signed = tdSigned(3, "data");
        signed[54 + 2] = bytes1(launch);
        signed[54 + 586] = bytes1(current);
        return quoteOf(signed);
    }

    function is_(Quote memory quote, TcbStatus expected) private view {
        TcbStatus got = verifier.verify(quote, leaf).status;
        vm.assertEq(uint256(got), uint256(expected), "status");
    }

    function refuse(Quote memory quote, bytes memory expected) private {
        vm.expectRevert(expected);
        verifier.verify(quote, leaf);
    }
}
