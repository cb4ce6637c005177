// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CollateralHeader} from "../../src/attestation/TcbInfoJson.sol";
import {TcbStatus, Tee} from "../../src/interfaces/IAttestationVerifier.sol";
import {vm} from "../Vm.sol";
import {CollateralFixture} from "./CollateralFixture.sol";
import {CollateralText, Dice, IsvLevel} from "./CollateralText.sol";

contract QeIdentityJsonTest is CollateralFixture {
    function test_readsIdentitiesOfIntel() public view {
        checkIntel("sgx_quote", Tee.Sgx, 6);
        checkIntel("tdx_quote", Tee.Tdx, 1);
        checkIntel("tdx_quote_outdated", Tee.Tdx, 1);
        checkIntel("tdx_quote_td15ex", Tee.Tdx, 1);
    }

    function test_readsTheHeader() public view {
        (CollateralHeader memory header,) =
            parser.qeIdentity(bytes(intel("sgx_quote", ".qe_identity")));
        vm.assertEq(header.issuedAt, 1_750_327_278, "issuedAt");
        vm.assertEq(header.nextUpdate, 1_752_919_278, "nextUpdate");
        vm.assertEq(header.evaluationNumber, 17, "evaluationNumber");
        vm.assertEq(header.fmspc, bytes6(0), "fmspc");
        vm.assertEq(header.pceId, bytes2(0), "pceId");
    }

    function test_everyByteMatters() public {
        checkMutations(parser.qeIdentity.selector, template());
    }

    function test_everyPrefixIsRefused() public view {
        checkPrefixes(parser.qeIdentityPrefix.selector, bytes(sgx()));
        checkPrefixes(parser.qeIdentityPrefix.selector, bytes(intel("sgx_quote", ".qe_identity")));
    }

    function testFuzz_levelsStayInTheirOrder(uint256 seed) public view {
        IsvLevel[] memory levels = Dice(seed).isvLevels(type(uint16).max, statuses());
        string memory json = sgx();
        json = string.concat(
            prefix(json, offsetOf(json, "\"tcbLevels\"")), CollateralText.isvLevels(levels)
        );
        (, bytes memory packed) = parser.qeIdentity(bytes(json));
        vm.assertEq(tail(packed), CollateralText.packed(levels), "levels");
    }

    function test_masksWhatIsExpected() public view {
        string memory json =
            one(sgx(), "\"miscselectMask\":\"FFFFFFFF", "\"miscselectMask\":\"000000F0");
        json = one(
            json,
            "\"attributesMask\":\"FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
            "\"attributesMask\":\"FB000000000000000000000000000001"
        );
        (, bytes memory packed) = parser.qeIdentity(bytes(json));
        bytes memory expected = abi.encodePacked(
            bytes32(0x8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF),
            bytes16(0xFB000000000000000000000000000001),
            bytes16(0xFB000000000000000000000000000001),
            bytes4(0x000000F0),
            bytes4(0x000000F0),
            uint16(513),
            uint16(1027),
            TcbStatus.UpToDate,
            uint16(4),
            TcbStatus.OutOfDateConfigurationNeeded
        );
        vm.assertEq(packed, expected, "packed");
    }

    function test_refusesOtherVersionsAndEnclaves() public view {
        refusedAfter("", "");
        refusedAfter(one(sgx(), "\"version\":2", "\"version\":1"), "{\"id\":\"");
        refusedAfter(one(sgx(), "\"version\":2", "\"version\":3"), "{\"id\":\"");
        refusedAfter(one(sgx(), "\"QE\"", "\"QVE\""), "{\"id\":\"");
        refusedAfter(one(sgx(), "\"QE\"", "\"TD_\""), "{\"id\":\"TD_");
        string memory tdx = one(sgx(), "\"QE\"", "\"TD_QE\"");
        (CollateralHeader memory header,) = parser.qeIdentity(bytes(tdx));
        vm.assertEq(uint256(header.tee), uint256(Tee.Tdx), "tee");
        refusedAfter(one(tdx, "\"version\":2", "\"version\":3"), "{\"id\":\"TD_");
    }

    function test_refusesWhatFollows() public view {
        refusedAfter(string.concat(sgx(), " "), sgx());
        refusedAfter(string.concat(sgx(), "}"), sgx());
    }

    function test_refusesAnotherOrderOfKeys() public view {
        string memory misc = "\"miscselect\":\"FFFFFFFF\"";
        string memory mask = "\"miscselectMask\":\"FFFFFFFF\"";
        string memory json =
            one(sgx(), string.concat(misc, ",", mask), string.concat(mask, ",", misc));
        refusedAfter(json, "\"tcbEvaluationDataNumber\":20,");
    }

    function test_refusesAKeyTwice() public view {
        string memory misc = "\"miscselect\":\"FFFFFFFF\"";
        refusedAfter(one(sgx(), misc, string.concat(misc, ",", misc)), "\"miscselect\":\"FFFFFFFF");
    }

    function test_refusesNumbersAboveTheirRange() public view {
        string[3] memory forms = ["65536", "01", "-1"];
        for (uint256 i; i < forms.length; ++i) {
            string memory key = "\"isvprodid\":";
            refusedAfter(one(sgx(), string.concat(key, "513"), string.concat(key, forms[i])), key);
            key = "\"isvsvn\":";
            refusedAfter(one(sgx(), string.concat(key, "1027"), string.concat(key, forms[i])), key);
        }
    }

    function test_refusesHexOfAnotherLength() public view {
        string memory key = "\"miscselect\":\"";
        refusedAfter(one(sgx(), key, string.concat(key, "0")), string.concat(key, "0FFFFFFF"));
        string memory old = string.concat(key, "F");
        refusedAfter(one(sgx(), old, key), key);
    }

    function test_takesTheStatusesOfAQuotingEnclave() public view {
        for (uint256 i; i < 9; ++i) {
            string memory json =
                one(sgx(), status("UpToDate"), status(CollateralText.statusName(TcbStatus(i))));
            bool allowed = i == 0 || i == 2 || i == 4 || i == 5 || i == 6;
            if (allowed) checkRead(parser.qeIdentity.selector, json);
            else refusedAfter(json, "\"tcbStatus\":\"");
        }
    }

    function test_takes64LevelsAndNoMore() public view {
        string memory head = prefix(sgx(), offsetOf(sgx(), "\"tcbLevels\""));
        IsvLevel[] memory levels = new IsvLevel[](64);
        (, bytes memory packed) =
            parser.qeIdentity(bytes(string.concat(head, CollateralText.isvLevels(levels))));
        vm.assertEq(tail(packed), CollateralText.packed(levels), "the most");
        levels = new IsvLevel[](65);
        levels[64].svn = 9;
        string memory json = string.concat(head, CollateralText.isvLevels(levels));
        checkRefused(parser.qeIdentity.selector, json, offsetOf(json, "{\"tcb\":{\"isvsvn\":9}"));
        json = string.concat(head, CollateralText.isvLevels(new IsvLevel[](0)));
        refusedAfter(json, "\"tcbLevels\":[");
    }

    function test_gasIsInProportion() public view {
        bytes memory json = bytes(intel("sgx_quote", ".qe_identity"));
        vm.assertLe(parser.qeIdentityGas(json), 40 * json.length, "gas");
    }

    /// Compares what is packed with what Foundry's JSON parser finds in the file.
    function checkIntel(string memory name, Tee tee, uint256 levels) private view {
        string memory json = intel(name, ".qe_identity");
        (CollateralHeader memory header, bytes memory packed) = parser.qeIdentity(bytes(json));
        vm.assertEq(uint256(header.tee), uint256(tee), "tee");
        bytes16 mask = bytes16(hexAt(json, ".attributesMask"));
        bytes4 miscMask = bytes4(hexAt(json, ".miscselectMask"));
        bytes memory expected = abi.encodePacked(
            hexAt(json, ".mrsigner"),
            bytes16(hexAt(json, ".attributes")) & mask,
            mask,
            bytes4(hexAt(json, ".miscselect")) & miscMask,
            miscMask,
            uint16(vm.parseJsonUint(json, ".isvprodid"))
        );
        expected = bytes.concat(expected, CollateralText.packed(isvLevelsAt(json, "", levels)));
        vm.assertEq(packed, expected, name);
    }

    function refusedAfter(string memory json, string memory text) private view {
        checkRefused(parser.qeIdentity.selector, json, offsetOf(json, text) + bytes(text).length);
    }

    function statuses() private pure returns (TcbStatus[] memory list) {
        list = new TcbStatus[](5);
        list[1] = TcbStatus.ConfigurationNeeded;
        list[2] = TcbStatus.OutOfDate;
        list[3] = TcbStatus.OutOfDateConfigurationNeeded;
        list[4] = TcbStatus.Revoked;
    }

    /// What follows the 74 bytes of the enclave.
    function tail(bytes memory packed) private pure returns (bytes memory levels) {
        levels = new bytes(packed.length - 74);
        for (uint256 i; i < levels.length; ++i) {
            levels[i] = packed[74 + i];
        }
    }

    function sgx() private pure returns (string memory) {
        (bytes memory json,) = kinds(template());
        return string(json);
    }

    function template() private pure returns (string memory) {
        return string.concat(
            "{\"id\":\"QE\",\"version\":2,\"issueDate\":\"<2025-06-19T10:16:03Z|\",",
            "\"nextUpdate\":\"<2025-07-19T10:16:03Z|\",\"tcbEvaluationDataNumber\":<20|,",
            "\"miscselect\":\"<FFFFFFFF|\",\"miscselectMask\":\"<FFFFFFFF|\",",
            "\"attributes\":\"<FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF|\",",
            "\"attributesMask\":\"<FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF|\",\"mrsigner\":",
            "\"<8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF|\",",
            "\"isvprodid\":<513|,\"tcbLevels\":[{\"tcb\":{\"isvsvn\":<1027|},",
            "\"tcbDate\":\"^2024-02-29T00:00:00Z|\",\"tcbStatus\":\"UpToDate\"},",
            "{\"tcb\":{\"isvsvn\":<4|},\"tcbDate\":\"^2019-11-13T00:00:00Z|\",",
            "\"tcbStatus\":\"OutOfDateConfigurationNeeded\",\"advisoryIDs\":[\"~INTEL-SA-00615|\"]}]}"
        );
    }
}
