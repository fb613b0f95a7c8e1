"""Two files written by hand: one exchange file with every construct of the format, and a model as Archi saves it."""

EVERYTHING = b"""<?xml version="1.0" encoding="UTF-8"?>
<model xmlns="http://www.opengroup.org/xsd/archimate/3.0/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xmlns:dc="http://purl.org/dc/elements/1.1/" xml:lang="en" identifier="workshop" version="1.2">
  <name>Workshop</name><name xml:lang="de">Werkstatt</name>
  <documentation>Where things are made.</documentation>
  <properties>
    <property propertyDefinitionRef="p1"><value>Ada</value><value xml:lang="de">Ada L.</value></property>
  </properties>
  <metadata><schema>Dublin Core</schema><schemaversion>1.1</schemaversion><dc:title>W &amp; Co</dc:title></metadata>
  <elements>
    <element identifier="smith" xsi:type="BusinessRole"><name>Smith</name><name xml:lang="de">Schmied</name>
      <properties><property propertyDefinitionRef="p2"><value>3</value></property></properties></element>
    <element identifier="forging" xsi:type="BusinessProcess"><name>Forging</name></element>
    <element identifier="order" xsi:type="BusinessObject"><name>Order</name></element>
    <element identifier="either" xsi:type="OrJunction"/>
  </elements>
  <relationships>
    <relationship identifier="does" source="smith" target="forging" xsi:type="Assignment">
      <name>does</name></relationship>
    <relationship identifier="reads" source="forging" target="order" accessType="Read" xsi:type="Access"/>
    <relationship identifier="on" source="order" target="does" xsi:type="Association"/>
    <relationship identifier="then" source="forging" target="either" xsi:type="Triggering"/>
  </relationships>
  <organizations>
    <item identifier="folder"><label>Business</label><label xml:lang="de">Fach</label>
      <documentation>All of it.</documentation>
      <item><label>Roles</label><item identifierRef="smith"/></item>
      <item identifierRef="forging"/><item><label>Nothing yet</label></item></item>
    <item><label>Relations</label><item identifierRef="does"/><item identifierRef="reads"/></item>
    <item identifierRef="main"/>
  </organizations>
  <organizations><item><label>By size</label><item identifierRef="order"/></item></organizations>
  <propertyDefinitions>
    <propertyDefinition identifier="p1" type="string"><name>Owner</name><name xml:lang="de">Wem</name>
      <documentation>Who answers for it.</documentation></propertyDefinition>
    <propertyDefinition identifier="p2" type="number"><name>Rank</name></propertyDefinition>
    <propertyDefinition identifier="p3" type="date"><name>Not used</name></propertyDefinition>
  </propertyDefinitions>
  <views>
    <viewpoints>
      <viewpoint identifier="vp"><name>Ours</name><concern><label>Who?</label></concern>
        <viewpointPurpose>Informing</viewpointPurpose><allowedElementType type="BusinessRole"/></viewpoint>
    </viewpoints>
    <diagrams>
      <view identifier="main" viewpoint="Layered" viewpointRef="vp" xsi:type="Diagram">
        <name>Main</name><name xml:lang="de">Haupt</name><documentation>What happens.</documentation>
        <properties><property propertyDefinitionRef="p1"><value>Bob</value></property></properties>
        <node identifier="n1" x="10" y="20" w="400" h="200" xsi:type="Container">
          <label>Inside</label><label xml:lang="de">Drinnen</label><documentation>A group.</documentation>
          <style lineWidth="2"><fillColor r="1" g="2" b="255" a="50"/><lineColor r="9" g="8" b="7"/>
            <font name="Arial" size="9.5" style="bold italic"><color r="0" g="0" b="0"/></font></style>
          <node identifier="n2" elementRef="smith" x="20" y="50" w="120" h="55" xsi:type="Element">
            <node identifier="n3" elementRef="order" x="30" y="70" w="60" h="20" xsi:type="Element"/>
          </node>
          <node identifier="n4" elementRef="forging" x="220" y="50" w="120" h="55" xsi:type="Element"/>
        </node>
        <node identifier="n5" x="10" y="260" w="100" h="60" xsi:type="Label"><label>A note &lt;b&gt;</label>
          <viewRef ref="second"/></node>
        <node identifier="n6" conceptRef="does" xpathPart="name" x="10" y="330" w="100" h="60" xsi:type="Label"/>
        <connection identifier="c1" relationshipRef="does" source="n2" target="n4" xsi:type="Relationship">
          <style><lineColor r="0" g="0" b="0"/></style>
          <sourceAttachment x="140" y="60"/><bendpoint x="180" y="40"/><bendpoint x="200" y="90"/>
          <targetAttachment x="220" y="60"/></connection>
        <connection identifier="c2" relationshipRef="reads" source="n4" target="n3" xsi:type="NestingRelationship"/>
        <connection identifier="c3" source="n5" target="c1" xsi:type="Line"><label>see</label></connection>
        <connection identifier="c4" xsi:type="Line"/>
      </view>
      <view identifier="second" xsi:type="Diagram"><name>Second</name></view>
    </diagrams>
  </views>
</model>
"""

ARCHI = b"""<?xml version="1.0" encoding="UTF-8"?>
<archimate:model xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xmlns:archimate="http://www.archimatetool.com/archimate" name="Workshop" id="11f5304f" version="5.0.0">
  <folder name="Business" id="f1" type="business">
    <folder name="Roles" id="f2"><documentation>Who does it.</documentation>
      <element xsi:type="archimate:BusinessRole" name="Smith" id="275" profiles="pr">
        <documentation>Forges.</documentation>
        <property key="Owner" value="Ada"/><property key="Tag" value="a"/><property key="Tag" value="b"/></element>
    </folder>
    <element xsi:type="archimate:BusinessProcess" name="Forging" id="fo"/>
    <element xsi:type="archimate:BusinessObject" name="Order" id="or"/>
  </folder>
  <folder name="Strategy" id="f3" type="strategy"/>
  <folder name="Other" id="f4" type="other">
    <element xsi:type="archimate:Junction" name="" id="ju" type="or"/>
  </folder>
  <folder name="Relations" id="f5" type="relations">
    <element xsi:type="archimate:AssignmentRelationship" id="as" source="275" target="fo"/>
    <element xsi:type="archimate:AccessRelationship" id="ac" source="fo" target="or" accessType="1"/>
    <element xsi:type="archimate:AccessRelationship" id="wr" source="fo" target="or"/>
    <element xsi:type="archimate:InfluenceRelationship" id="in" source="fo" target="or" strength="++"/>
    <element xsi:type="archimate:AssociationRelationship" id="di" source="fo" target="or" directed="true"/>
    <element xsi:type="archimate:UsedByRelationship" id="us" source="275" target="fo"/>
  </folder>
  <folder name="Views" id="f6" type="diagrams">
    <element xsi:type="archimate:ArchimateDiagramModel" name="Main" id="vi" viewpoint="capability">
      <child xsi:type="archimate:Group" id="g" name="Inside"><bounds x="-10" y="20" width="400" height="200"/>
        <child xsi:type="archimate:DiagramObject" id="o1" fillColor="#FF8040" alpha="128" lineWidth="2"
          font="1|Arial|14.0|3|WINDOWS|1|0" fontColor="#0000ff" archimateElement="275">
          <bounds x="10" y="30" width="-1" height="-1"/>
          <sourceConnection xsi:type="archimate:Connection" id="k" source="o1" target="o2" archimateRelationship="as">
            <bendpoint startX="10" startY="-40" endX="-190" endY="-40"/></sourceConnection>
          <sourceConnection xsi:type="archimate:Connection" id="k2" source="o1" target="o3" archimateRelationship="us"/>
          <child xsi:type="archimate:DiagramObject" id="o3" archimateElement="or">
            <bounds x="5" y="5" width="50" height="20"/></child>
        </child>
        <child xsi:type="archimate:DiagramObject" id="o2" archimateElement="fo">
          <bounds x="210" y="30" width="120" height="55"/></child>
      </child>
      <child xsi:type="archimate:Note" id="no"><bounds x="10" y="240" width="100" height="60"/>
        <sourceConnection id="li" source="no" target="o2" lineColor="#00ff00" lineWidth="3"/>
        <content>A note</content></child>
      <child xsi:type="archimate:DiagramModelReference" id="re" model="v2">
        <bounds x="10" y="320" width="100" height="60"/></child>
      <child xsi:type="archimate:DiagramModelImage" id="im"><bounds x="0" y="0" width="9" height="9"/></child>
    </element>
    <element xsi:type="archimate:ArchimateDiagramModel" name="Second" id="v2"/>
    <element xsi:type="archimate:SketchModel" name="Sketch" id="sk"/>
  </folder>
  <purpose>Where things are made.</purpose>
  <property key="Owner" value="Bob"/>
  <profile name="Master" id="pr" conceptType="BusinessRole"/>
</archimate:model>
"""
